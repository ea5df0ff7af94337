//! Columns to rows: what Dremel's levels say about where lists and empty fields are.
//!
//! A value of a column has a definition level, how many of its optional and repeated ancestors are there,
//! and a repetition level, which of the lists around it goes on with it.

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as PhysicalType};
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::Type;
use serde_json::Value;

use super::super::row::{Assembled, Object};

/// How a field is put together from columns.
pub(super) enum Node {
    /// The index of a column.
    Leaf(usize),
    /// Nothing, below this definition level.
    Optional(i16, Box<Node>),
    /// No items, below this definition level; the next item has this repetition level.
    List(i16, i16, Box<Node>),
    Struct(Vec<(String, Node)>),
}

/// The columns of a file as trees, one for each field.
pub(super) struct Forest {
    pub fields: Vec<(String, Node)>,
    /// For each column that is read, its place among the columns of the file, and whether its values are needed.
    pub columns: Vec<(usize, bool)>,
}

impl Forest {
    /// The fields that are wanted; the name of one whose kind is no text and no number is an error.
    pub fn of(
        schema: &Type,
        wanted: &dyn Fn(&str) -> bool,
        needed: &dyn Fn(&str) -> bool,
    ) -> std::result::Result<Self, String> {
        let mut planting = Planting::default();
        let mut fields = Vec::new();
        for field in schema.get_fields() {
            let name = field.name();
            planting.is_needed = needed(name);
            // Dates and decimals of a type that has no text are short, whatever they say.
            let is_read = wanted(name) && (planting.is_needed || !is_strange(field));
            if is_read {
                let node = planting.field(field, 0, 0);
                fields.push((name.to_owned(), node));
            } else {
                planting.next_column += num_columns(field);
            }
        }
        match planting.strange {
            Some(name) => Err(name),
            None => Ok(Self {
                fields,
                columns: planting.columns,
            }),
        }
    }
}

/// Is there a column in the field whose values are neither text nor numbers?
fn is_strange(field: &Type) -> bool {
    match field.is_group() {
        true => field.get_fields().iter().any(|inner| is_strange(inner)),
        false => matches!(
            field.get_physical_type(),
            PhysicalType::INT96 | PhysicalType::FIXED_LEN_BYTE_ARRAY
        ),
    }
}

fn num_columns(field: &Type) -> usize {
    match field.is_group() {
        true => field
            .get_fields()
            .iter()
            .map(|field| num_columns(field))
            .sum(),
        false => 1,
    }
}

#[derive(Default)]
struct Planting {
    next_column: usize,
    columns: Vec<(usize, bool)>,
    is_needed: bool,
    strange: Option<String>,
}

impl Planting {
    fn field(&mut self, field: &Type, def: i16, rep: i16) -> Node {
        match field.get_basic_info().repetition() {
            Repetition::REQUIRED => self.body(field, def, rep),
            Repetition::OPTIONAL => {
                Node::Optional(def + 1, Box::new(self.body(field, def + 1, rep)))
            }
            Repetition::REPEATED => {
                let item = self.body(field, def + 1, rep + 1);
                Node::List(def + 1, rep + 1, Box::new(item))
            }
        }
    }

    fn body(&mut self, field: &Type, def: i16, rep: i16) -> Node {
        if !field.is_group() {
            return self.leaf(field);
        }
        match field.get_fields() {
            [items] if is_list(field) && is_repeated(items) => {
                let (def, rep) = (def + 1, rep + 1);
                let item = match inner_item(items) {
                    Some(item) => self.field(item, def, rep),
                    None => self.body(items, def, rep),
                };
                Node::List(def, rep, Box::new(item))
            }
            fields => {
                let mut named =
                    |inner: &Type| (inner.name().to_owned(), self.field(inner, def, rep));
                Node::Struct(fields.iter().map(|inner| named(inner)).collect())
            }
        }
    }

    fn leaf(&mut self, field: &Type) -> Node {
        if is_strange(field) {
            self.strange.get_or_insert_with(|| field.name().to_owned());
        }
        self.columns.push((self.next_column, self.is_needed));
        self.next_column += 1;
        Node::Leaf(self.columns.len() - 1)
    }
}

fn is_list(field: &Type) -> bool {
    let info = field.get_basic_info();
    info.converted_type() == ConvertedType::LIST
        || matches!(info.logical_type_ref(), Some(LogicalType::List))
}

fn is_repeated(field: &Type) -> bool {
    field.get_basic_info().repetition() == Repetition::REPEATED
}

/// The item inside the group that is repeated; older writers repeat the item itself.
fn inner_item(items: &Type) -> Option<&Type> {
    let is_item = items.name() == "array" || items.name().ends_with("_tuple");
    match items.is_group().then(|| items.get_fields()) {
        Some([item]) if !is_item => Some(item),
        _ => None,
    }
}

/// Some rows of one column.
pub(super) struct Column {
    reader: ColumnReader,
    max_def: i16,
    is_needed: bool,
    def: Vec<i16>,
    rep: Vec<i16>,
    values: Values,
    next_level: usize,
    next_value: usize,
}

enum Values {
    Truths(Vec<bool>),
    Ints(Vec<i32>),
    Longs(Vec<i64>),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Texts(Vec<ByteArray>),
}

impl Column {
    pub fn new(reader: ColumnReader, max_def: i16, is_needed: bool) -> Self {
        Self {
            reader,
            max_def,
            is_needed,
            def: Vec::new(),
            rep: Vec::new(),
            values: Values::Truths(Vec::new()),
            next_level: 0,
            next_value: 0,
        }
    }

    /// Reads the next rows; what is left of the last ones is let go.
    pub fn read(&mut self, rows: usize) -> Result<()> {
        macro_rules! read {
            ($reader:expr, $kind:expr) => {{
                let mut values = Vec::new();
                let (def, rep) = (Some(&mut self.def), Some(&mut self.rep));
                let (found, _, levels) = $reader.read_records(rows, def, rep, &mut values)?;
                (found, levels, $kind(values))
            }};
        }
        self.def.clear();
        self.rep.clear();
        (self.next_level, self.next_value) = (0, 0);
        let (found, levels, values) = match &mut self.reader {
            ColumnReader::BoolColumnReader(reader) => read!(reader, Values::Truths),
            ColumnReader::Int32ColumnReader(reader) => read!(reader, Values::Ints),
            ColumnReader::Int64ColumnReader(reader) => read!(reader, Values::Longs),
            ColumnReader::FloatColumnReader(reader) => read!(reader, Values::Floats),
            ColumnReader::DoubleColumnReader(reader) => read!(reader, Values::Doubles),
            ColumnReader::ByteArrayColumnReader(reader) => read!(reader, Values::Texts),
            _ => return Err(ParquetError::General("a column of a strange type".into())),
        };
        if found != rows {
            let what = format!("a column ends {} rows early", rows - found);
            return Err(ParquetError::General(what));
        }
        // Levels that can only be 0, or only be the highest, are not written.
        if self.max_def == 0 {
            self.def.resize(levels, 0);
        }
        self.rep.resize(levels, 0);
        self.values = values;
        Ok(())
    }
}

/// A row under way.
#[derive(Default)]
pub(super) struct Assembly(pub Assembled);

impl Assembly {
    /// The next row; `None` if the columns do not fit together.
    pub fn row(&mut self, fields: &[(String, Node)], columns: &mut [Column]) -> Option<Object> {
        let mut row = Object::new();
        for (name, node) in fields {
            let value = self.value(node, columns)?;
            if !value.is_null() {
                row.insert(name.clone(), value);
            }
        }
        Some(row)
    }

    fn value(&mut self, node: &Node, columns: &mut [Column]) -> Option<Value> {
        self.0.count_value();
        match node {
            Node::Leaf(column) => self.leaf(columns.get_mut(*column)?),
            Node::Optional(def, inner) if current(first(inner), columns)?.0 >= *def => {
                self.value(inner, columns)
            }
            Node::List(def, rep, item) if current(first(item), columns)?.0 >= *def => {
                self.list(*rep, item, columns)
            }
            Node::Optional(_, inner) => {
                pass(inner, columns);
                Some(Value::Null)
            }
            Node::List(_, _, item) => {
                pass(item, columns);
                Some(Value::Array(Vec::new()))
            }
            // A field that is empty in this row is there because another row has it.
            Node::Struct(fields) => {
                let mut object = Object::new();
                for (name, node) in fields {
                    let value = self.value(node, columns)?;
                    if !value.is_null() && self.0.is_short() {
                        object.insert(name.clone(), value);
                    }
                }
                Some(object.into())
            }
        }
    }

    fn list(&mut self, rep: i16, item: &Node, columns: &mut [Column]) -> Option<Value> {
        let mut items = Vec::new();
        loop {
            let value = self.value(item, columns)?;
            if self.0.is_short() {
                items.push(value);
            }
            match current(first(item), columns) {
                Some((_, next)) if next >= rep => {}
                _ => return Some(items.into()),
            }
        }
    }

    fn leaf(&mut self, column: &mut Column) -> Option<Value> {
        column.next_level += 1;
        let next = column.next_value;
        column.next_value += 1;
        Some(match &column.values {
            Values::Truths(values) => (*values.get(next)?).into(),
            Values::Ints(values) => (*values.get(next)?).into(),
            Values::Longs(values) => (*values.get(next)?).into(),
            Values::Floats(values) => f64::from(*values.get(next)?).into(),
            Values::Doubles(values) => (*values.get(next)?).into(),
            Values::Texts(values) => self.0.text(values.get(next)?.data(), column.is_needed),
        })
    }
}

/// The first column of a node: its levels tell how much of the node there is.
fn first(node: &Node) -> Option<usize> {
    match node {
        Node::Leaf(column) => Some(*column),
        Node::Optional(_, inner) | Node::List(_, _, inner) => first(inner),
        Node::Struct(fields) => fields.iter().find_map(|(_, node)| first(node)),
    }
}

/// Definition and repetition level of the next value.
fn current(column: Option<usize>, columns: &[Column]) -> Option<(i16, i16)> {
    let column = columns.get(column?)?;
    let level = column.next_level;
    Some((*column.def.get(level)?, *column.rep.get(level)?))
}

/// Passes over the levels that say that the node is not there.
fn pass(node: &Node, columns: &mut [Column]) {
    match node {
        Node::Leaf(column) => columns[*column].next_level += 1,
        Node::Optional(_, inner) | Node::List(_, _, inner) => pass(inner, columns),
        Node::Struct(fields) => fields.iter().for_each(|(_, node)| pass(node, columns)),
    }
}
