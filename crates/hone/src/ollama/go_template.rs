//! The part of Go's `text/template` that our Modelfiles are written in, run by Go's rules.
//!
//! A Modelfile is compared with what was trained before anybody sees it, and what counts is what Ollama will make of it:
//! an empty text is false, `{{-` takes white space with it, a template that names `.Messages` is run once over all of them
//! and any other once for each exchange. What is not in this part of the language is refused, never passed over.

use std::collections::BTreeMap;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct GoTemplate {
    nodes: Vec<Node>,
}

/// A message as Ollama hands it to a template.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Its words.
    pub content: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    Print(Expr),
    If {
        condition: Expr,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        index: String,
        over: Expr,
        body: Vec<Node>,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Expr {
    /// `.Name`: of the message in a loop, else of the root.
    Field(String),
    /// `$.Name`
    OfRoot(String),
    /// `$name`
    Variable(String),
    Text(String),
    Number(usize),
    Call(String, Vec<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Nothing,
    Bool(bool),
    Number(usize),
    Text(String),
    Messages(Vec<Message>),
}

impl Value {
    /// Go's idea of it: what is empty is false.
    fn is_true(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Bool(value) => *value,
            Self::Number(value) => *value != 0,
            Self::Text(text) => !text.is_empty(),
            Self::Messages(messages) => !messages.is_empty(),
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Nothing => "<no value>".into(),
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(text) => text.clone(),
            Self::Messages(_) => "[messages]".into(),
        }
    }
}

/// Where names get their values.
struct Scope<'a> {
    root: &'a BTreeMap<&'static str, Value>,
    message: Option<&'a Message>,
    variables: Vec<(String, usize)>,
}

impl GoTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// What this part of the language does not have, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = pieces(text)?.into_iter().peekable();
        let (nodes, end) = nodes(&mut pieces)?;
        match end {
            None => Ok(Self { nodes }),
            Some(end) => Err(format!("`{end}` ends nothing")),
        }
    }

    /// What Ollama's runner is given for a conversation that ends with a question.
    ///
    /// # Errors
    /// A value that a function does not take.
    pub fn prompt(&self, messages: &[Message]) -> Result<String, String> {
        let messages = collated(messages);
        let system: Vec<&str> = messages
            .iter()
            .filter(|message| message.role == "system")
            .map(|message| message.content.as_str())
            .collect();
        let text = |text: &str| Value::Text(text.to_owned());
        if self.mentions("Messages") {
            let root = BTreeMap::from([
                ("System", text(&system.join("\n\n"))),
                ("Messages", Value::Messages(messages)),
                ("Response", text("")),
            ]);
            return run(&self.nodes, &root);
        }
        let exchange = |nodes: &[Node], [system, prompt, response]: [&str; 3]| {
            let root = BTreeMap::from([
                ("System", text(system)),
                ("Prompt", text(prompt)),
                ("Response", text(response)),
            ]);
            run(nodes, &root)
        };
        let mut out = String::new();
        let (mut system, mut prompt, mut response) = ("", "", "");
        for message in &messages {
            let is_full = match message.role.as_str() {
                "system" => !prompt.is_empty() || !response.is_empty(),
                "user" => !response.is_empty(),
                _ => false,
            };
            if is_full {
                out += &exchange(&self.nodes, [system, prompt, response])?;
                (system, prompt, response) = ("", "", "");
            }
            match message.role.as_str() {
                "system" => system = &message.content,
                "user" => prompt = &message.content,
                _ => response = &message.content,
            }
        }
        let cut = self.nodes.iter().position(|node| node.mentions("Response"));
        let nodes = &self.nodes[..cut.map_or(self.nodes.len(), |at| at + 1)];
        out += &exchange(nodes, [system, prompt, response])?;
        Ok(out)
    }

    fn mentions(&self, field: &str) -> bool {
        self.nodes.iter().any(|node| node.mentions(field))
    }
}

/// Messages of one role that follow one another become one.
fn collated(messages: &[Message]) -> Vec<Message> {
    let mut collated: Vec<Message> = Vec::new();
    for message in messages {
        match collated.last_mut() {
            Some(last) if last.role == message.role => {
                last.content += "\n\n";
                last.content += &message.content;
            }
            _ => collated.push(message.clone()),
        }
    }
    collated
}

impl Node {
    fn mentions(&self, field: &str) -> bool {
        let any = |nodes: &[Self]| nodes.iter().any(|node| node.mentions(field));
        match self {
            Self::Text(_) => false,
            Self::Print(expr) => expr.mentions(field),
            Self::If {
                condition,
                then,
                otherwise,
            } => condition.mentions(field) || any(then) || any(otherwise),
            Self::Range { over, body, .. } => over.mentions(field) || any(body),
        }
    }
}

impl Expr {
    fn mentions(&self, field: &str) -> bool {
        match self {
            Self::Field(name) | Self::OfRoot(name) => name == field,
            Self::Call(_, arguments) => arguments.iter().any(|one| one.mentions(field)),
            Self::Variable(_) | Self::Text(_) | Self::Number(_) => false,
        }
    }
}

fn run(nodes: &[Node], root: &BTreeMap<&'static str, Value>) -> Result<String, String> {
    let mut scope = Scope {
        root,
        message: None,
        variables: vec![],
    };
    let mut out = String::new();
    scope.write(nodes, &mut out)?;
    Ok(out)
}

impl<'a> Scope<'a> {
    fn write(&mut self, nodes: &[Node], out: &mut String) -> Result<(), String> {
        for node in nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Print(expr) => out.push_str(&self.value(expr)?.print()),
                Node::If {
                    condition,
                    then,
                    otherwise,
                } => match self.value(condition)?.is_true() {
                    true => self.write(then, out)?,
                    false => self.write(otherwise, out)?,
                },
                Node::Range { index, over, body } => {
                    let Value::Messages(messages) = self.value(over)? else {
                        return Err("range goes over messages only".into());
                    };
                    for (at, message) in messages.iter().enumerate() {
                        let mut variables = self.variables.clone();
                        variables.push((index.clone(), at));
                        let mut inner = Scope {
                            root: self.root,
                            message: Some(message),
                            variables,
                        };
                        inner.write(body, out)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn value(&self, expr: &Expr) -> Result<Value, String> {
        let of_root = |name: &str| self.root.get(name).cloned().unwrap_or(Value::Nothing);
        Ok(match expr {
            Expr::Field(name) => match (self.message, name.as_str()) {
                (None, name) => of_root(name),
                (Some(message), "Role") => Value::Text(message.role.clone()),
                (Some(message), "Content") => Value::Text(message.content.clone()),
                (Some(_), name) => return Err(format!("a message has no `{name}`")),
            },
            Expr::OfRoot(name) => of_root(name),
            Expr::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, at) = found.ok_or_else(|| format!("`${name}` is not known"))?;
                Value::Number(*at)
            }
            Expr::Text(text) => Value::Text(text.clone()),
            Expr::Number(number) => Value::Number(*number),
            Expr::Call(name, arguments) => self.call(name, arguments)?,
        })
    }

    fn call(&self, name: &str, arguments: &[Expr]) -> Result<Value, String> {
        let values: Vec<Value> = arguments
            .iter()
            .map(|one| self.value(one))
            .collect::<Result<_, _>>()?;
        let wrong = || format!("`{name}` does not take these values");
        Ok(match (name, &values[..]) {
            ("eq", [first, others @ ..]) if !others.is_empty() => {
                Value::Bool(others.iter().any(|other| other == first))
            }
            ("ne", [first, other]) => Value::Bool(first != other),
            ("not", [value]) => Value::Bool(!value.is_true()),
            ("and", [.., last]) => {
                let stops = values.iter().find(|value| !value.is_true());
                stops.unwrap_or(last).clone()
            }
            ("or", [.., last]) => {
                let stops = values.iter().find(|value| value.is_true());
                stops.unwrap_or(last).clone()
            }
            ("len", [Value::Messages(messages)]) => Value::Number(messages.len()),
            ("len", [Value::Text(text)]) => Value::Number(text.len()),
            ("slice", [Value::Messages(messages), Value::Number(from)]) => {
                Value::Messages(messages.get(*from..).ok_or_else(wrong)?.to_vec())
            }
            _ => return Err(wrong()),
        })
    }
}

/// Text, and what stands between braces.
enum Piece {
    Text(String),
    Action(String),
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trims = false;
    while let Some(open) = rest.find("{{") {
        let (before, action) = rest.split_at(open);
        let end = end_of_action(&action[2..]).ok_or("an action does not end")?;
        let inner = &action[2..2 + end];
        let (inner, trims_before) = match inner.strip_prefix("- ") {
            Some(inner) => (inner, true),
            None => (inner, false),
        };
        let (inner, trims_after) = match inner.strip_suffix(" -") {
            Some(inner) => (inner, true),
            None => (inner, false),
        };
        pieces.push(Piece::Text(trimmed(before, trims, trims_before)));
        pieces.push(Piece::Action(inner.trim().to_owned()));
        trims = trims_after;
        rest = &action[2 + end + 2..];
    }
    pieces.push(Piece::Text(trimmed(rest, trims, false)));
    Ok(pieces)
}

/// Go's white space is space, tab, carriage return and newline.
fn trimmed(text: &str, start: bool, end: bool) -> String {
    let is_space = [' ', '\t', '\r', '\n'];
    let text = if start {
        text.trim_start_matches(is_space)
    } else {
        text
    };
    let text = if end {
        text.trim_end_matches(is_space)
    } else {
        text
    };
    text.to_owned()
}

/// Where `}}` stands that is not in a string.
fn end_of_action(action: &str) -> Option<usize> {
    let (mut in_string, mut escaped) = (false, false);
    for (at, c) in action.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            '}' if !in_string && action[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
    }
    None
}

type Pieces = std::iter::Peekable<std::vec::IntoIter<Piece>>;

/// Nodes up to `end` or `else`, and which of them it was.
fn nodes(pieces: &mut Pieces) -> Result<(Vec<Node>, Option<String>), String> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let action = match piece {
            Piece::Text(text) if text.is_empty() => continue,
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(action) => action,
        };
        let word = action.split_whitespace().next().unwrap_or_default();
        match word {
            "end" | "else" => return Ok((nodes, Some(action))),
            "if" => nodes.push(branch(&action["if".len()..], pieces)?),
            "range" => nodes.push(range(&action["range".len()..], pieces)?),
            _ => nodes.push(Node::Print(expression(&action)?)),
        }
    }
    Ok((nodes, None))
}

fn branch(condition: &str, pieces: &mut Pieces) -> Result<Node, String> {
    let condition = expression(condition)?;
    let (then, end) = nodes(pieces)?;
    let end = end.ok_or("`if` has no end")?;
    let otherwise = match end.strip_prefix("else").map(str::trim) {
        None => vec![],
        Some("") => match nodes(pieces)? {
            (otherwise, Some(end)) if end == "end" => otherwise,
            _ => return Err("`else` has no end".into()),
        },
        Some(rest) => {
            let condition = rest
                .strip_prefix("if ")
                .ok_or("`else` is followed by `if` only")?;
            vec![branch(condition, pieces)?]
        }
    };
    Ok(Node::If {
        condition,
        then,
        otherwise,
    })
}

/// `range $i, $_ := .Messages`
fn range(header: &str, pieces: &mut Pieces) -> Result<Node, String> {
    const FORM: &str = "`range` is written `range $i, $_ := …`";
    let (variables, over) = header.split_once(":=").ok_or(FORM)?;
    let (index, _) = variables.split_once(',').ok_or(FORM)?;
    let index = index.trim().strip_prefix('$').ok_or(FORM)?.to_owned();
    let over = expression(over)?;
    match nodes(pieces)? {
        (body, Some(end)) if end == "end" => Ok(Node::Range { index, over, body }),
        _ => Err("`range` has no end".into()),
    }
}

fn expression(text: &str) -> Result<Expr, String> {
    let words = words(text)?;
    let mut rest = &words[..];
    let expr = pipeline(&mut rest)?;
    match rest {
        [] => Ok(expr),
        [word, ..] => Err(format!("`{word}` is one too many in `{text}`")),
    }
}

/// Words of an expression; parentheses and strings are words.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '(' | ')' => words.push(c.to_string()),
            '"' => {
                let mut escaped = false;
                let end = chars.by_ref().find(|(_, c)| {
                    let ends = *c == '"' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    ends
                });
                let (end, _) = end.ok_or("a string does not end")?;
                words.push(text[start..=end].to_owned());
            }
            _ => {
                let mut end = start + c.len_utf8();
                while let Some((at, c)) =
                    chars.next_if(|(_, c)| !c.is_whitespace() && !"()\"".contains(*c))
                {
                    end = at + c.len_utf8();
                }
                words.push(text[start..end].to_owned());
            }
        }
    }
    Ok(words)
}

fn pipeline(rest: &mut &[String]) -> Result<Expr, String> {
    let Some((first, after)) = rest.split_first() else {
        return Err("an expression is empty".into());
    };
    let is_name = first.starts_with(|c: char| c.is_ascii_alphabetic());
    if !is_name {
        return operand(rest);
    }
    *rest = after;
    let mut arguments = Vec::new();
    while rest.first().is_some_and(|word| word != ")") {
        arguments.push(operand(rest)?);
    }
    Ok(Expr::Call(first.clone(), arguments))
}

fn operand(rest: &mut &[String]) -> Result<Expr, String> {
    let (first, after) = rest.split_first().ok_or("an expression ends early")?;
    *rest = after;
    if first == "(" {
        let inner = pipeline(rest)?;
        let (close, after) = rest.split_first().ok_or("a parenthesis does not close")?;
        *rest = after;
        return match close.as_str() {
            ")" => Ok(inner),
            other => Err(format!("`{other}` stands where a parenthesis should close")),
        };
    }
    if let Some(name) = first.strip_prefix("$.") {
        return Ok(Expr::OfRoot(name.to_owned()));
    }
    if let Some(name) = first.strip_prefix('$') {
        return Ok(Expr::Variable(name.to_owned()));
    }
    if let Some(name) = first.strip_prefix('.').filter(|name| !name.is_empty()) {
        return Ok(Expr::Field(name.to_owned()));
    }
    if first.starts_with('"') {
        // Go's strings are JSON's as far as they are written here.
        return serde_json::from_str(first)
            .map(Expr::Text)
            .map_err(|error| format!("{first}: {error}"));
    }
    first
        .parse()
        .map(Expr::Number)
        .map_err(|_| format!("`{first}` is not known"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: &str, content: &str) -> Message {
        Message {
            role: role.into(),
            content: content.into(),
        }
    }

    fn prompt(template: &str, messages: &[(&str, &str)]) -> String {
        let messages: Vec<Message> = messages
            .iter()
            .map(|(role, words)| message(role, words))
            .collect();
        GoTemplate::parse(template)
            .unwrap()
            .prompt(&messages)
            .unwrap()
    }

    const TALK: [(&str, &str); 4] = [
        ("system", "S"),
        ("user", "A"),
        ("assistant", "B"),
        ("user", "C"),
    ];

    #[test]
    fn without_messages_it_runs_once_for_each_exchange() {
        let template = "{{ if .System }}[{{ .System }}]{{ end }}<{{ .Prompt }}>{{ .Response }}|\n";
        assert_eq!(prompt(template, &TALK), "[S]<A>B|\n<C>");
        assert_eq!(prompt(template, &TALK[1..2]), "<A>");
    }

    #[test]
    fn an_empty_text_is_false() {
        let template =
            "{{ if .System }}[{{ .System }}]{{ else }}none{{ end }}{{ .Prompt }}{{ .Response }}";
        assert_eq!(prompt(template, &[("system", ""), ("user", "A")]), "noneA");
    }

    #[test]
    fn with_messages_it_runs_once() {
        let template = "{{ .System }}:{{ range $i, $_ := .Messages }}{{ if eq .Role \"user\" }}<{{ .Content }}>\
            {{ if eq (len (slice $.Messages $i)) 1 }}last{{ end }}{{ else if eq .Role \"assistant\" \"tool\" }}{{ .Content }}{{ end }}{{ end }}";
        assert_eq!(prompt(template, &TALK), "S:<A>B<C>last");
    }

    #[test]
    fn signs_beside_braces_take_white_space_with_them() {
        assert_eq!(
            prompt("a \n{{- .Prompt -}}\n b{{ .Response }}", &[("user", "X")]),
            "aXb"
        );
    }

    #[test]
    fn braces_in_strings_are_text() {
        assert_eq!(
            prompt(
                "{{ \"{{ }}\" }}{{ .Prompt }}{{ \"\\\"\" }}{{ .Response }}",
                &[("user", "X")]
            ),
            "{{ }}X\""
        );
    }

    #[test]
    fn and_or_and_not_are_go_s() {
        let template = "{{ if and .System .Prompt }}both{{ end }}{{ or .System \"x\" }}{{ not .System }}{{ .Response }}";
        assert_eq!(prompt(template, &[("user", "A")]), "xtrue");
    }

    #[test]
    fn messages_of_one_role_become_one() {
        let talk = [("user", "A"), ("user", "B")];
        assert_eq!(prompt("{{ .Prompt }}{{ .Response }}", &talk), "A\n\nB");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for odd in [
            "{{ if .System }}",
            "{{ end }}",
            "{{ .System",
            "{{ range .Messages }}{{ end }}",
            "{{ (len .System }}",
            "{{ .System .Prompt }}",
            "{{ with .System }}x{{ end }}",
        ] {
            let parsed = GoTemplate::parse(odd);
            let run = parsed.and_then(|template| template.prompt(&[message("user", "A")]));
            assert!(run.is_err(), "{odd}: {run:?}");
        }
    }
}
