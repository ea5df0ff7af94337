//! Telephone numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use phonenumber::metadata::DATABASE;
use regex::{Regex, RegexBuilder};

use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "phone",
    family: Family::PersonalData,
    summary: "a telephone number",
    why: "A number reaches a person, at home and at night. A model that has learned it gives it to whoever asks for that name.",
    what: "`+`, `00` or `011`, a country's code and a number that this country gives (libphonenumber's tables; score 0.9), or one of a possible length (0.7 after `+`); ten digits of the North American plan, area and exchange from 2 on, grouped as people write them (0.6); a trunk `0` and three groups or more of 9 to 11 digits (0.6); groups that are a number of a country where the language of the text is spoken (0.6); other groups of 7 to 13 digits, and bare digits that are a number of one of sixty countries, beside a word such as *phone*, *call*, *Telefon*, *電話* (0.2 without). Beside *order*, *invoice*, *ISBN* and the like bare digits are none. Numbers set apart for fiction (555-01xx, Ofcom's and ARCEP's) are nobody's. Label `PHONE`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

#[rustfmt::skip]
const CONTEXT: &[&str] = &[
    "phone*", "telephone*", "tel", "call*", "fax", "mobile", "cell", "cellphone", "whatsapp", "telegram", "viber", "number is", "my number", "meine nummer", "mon numéro", "mi número", "mio numero", "meu número", "мой номер", "reach", "answer*", "dial", "ring me", "ring us", "ring him", "ring her", "text", "sms", "hotline", "landline",
    "telefon*", "handy*", "mobil*", "rufnummer*", "anruf*", "ruf*", "durchwahl", "festnetz*", "telefax",
    "téléphone*", "portable", "appel*", "joindre", "joignable", "tél", "fixe",
    "teléfono*", "móvil*", "celular*", "cel", "llam*", "llám*", "márca*", "tfno", "telefono*", "cellulare", "chiam*", "recapito", "telefone*", "telemóvel", "liga*", "ligue", "fone", "zap",
    "telefoon*", "bel", "bellen", "mobiel*", "gsm", "ring mig", "ring meg", "ring på", "ring til", "ringa", "mobilnummer", "tlf", "puhelin*", "puh", "soita", "soittaa", "matkapuhelin",
    "zadzwo*", "komórk*", "numer telefonu", "dzwoni*", "zavolej*", "volat", "volejte", "mobilní", "hívj*", "hívd", "mobilszám", "sunați", "suna*", "apel*", "cep", "ara", "arayın", "arayabilir*", "numaram",
    "телефон*", "номер телефона", "тел", "звон*", "позвон*", "мобильн*", "сотов*", "дзвон*", "подзвон*", "обад*", "мобилен", "τηλέφωνο*", "τηλ", "κινητό", "καλέστε",
    "điện thoại", "gọi", "sđt", "telepon", "telp", "hp", "hubungi", "hotline",
    "电话", "電話", "手机", "手機", "拨打", "联系", "致电", "微信", "携帯", "連絡", "전화", "휴대폰", "핸드폰", "연락",
    "هاتف", "الهاتف", "جوال", "موبايل", "اتصل", "تلفن", "موبایل", "تماس", "טלפון", "נייד", "להתקשר", "फ़ोन", "फोन", "मोबाइल", "कॉल", "ফোন", "মোবাইল", "โทร", "เบอร์", "มือถือ", "போன்", "ఫోన్",
    "contact", "contacto", "contatto", "contato", "kontakt*", "office", "message*", "registered", "iletişim", "контакт*",
];

#[rustfmt::skip]
const AGAINST: &[&str] = &[
    "order*", "invoice*", "isbn", "issn", "doi", "sku", "ean", "upc", "gtin", "imei", "ticket*", "tracking", "serial*", "version*", "ref", "reference", "batch", "lot", "part", "model", "build", "commit", "timestamp*", "epoch", "unix", "hash", "article*", "item*", "id", "account*", "receipt", "parcel", "shipment", "patent", "case", "file", "seed", "port", "pid", "bytes", "size",
    "bestell*", "rechnung*", "artikel*", "auftrag*", "sendung*", "kunden*", "aktenzeichen", "vorgang*", "commande*", "facture*", "référence", "colis", "pedido*", "factura*", "fatura*", "ordine", "fattura", "encomenda", "bestelling*", "factuur*", "beställning*", "ordrenummer*", "tilaus*", "lasku*", "zamówieni*", "faktur*", "objednávk*", "rendelés*", "számla*", "comand*", "sipariş*",
    "заказ*", "счёт*", "счет*", "накладн*", "замовлен*", "поръчк*", "παραγγελία*", "订单", "訂單", "发票", "编号", "单号", "注文", "請求書", "型番", "주문", "송장", "영수증", "طلب", "فاتورة", "سفارش", "הזמנה", "ऑर्डर", "đơn hàng", "pesanan",
];

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    if view.num_digits_together() < 7 {
        return;
    }
    let bytes = text.as_bytes();
    let (mut at, mut regions) = (0, None);
    while let Some(digit) = bytes[at..].iter().position(u8::is_ascii_digit) {
        let run = Run::of(bytes, at + digit);
        at = run.end();
        if run.num_digits() >= 7 {
            let regions = &mut || *regions.get_or_insert_with(|| regions_of(text));
            run.see(text, regions, seen);
        }
    }
}

/// Groups of digits with the marks between them that telephone numbers have.
struct Run {
    groups: Vec<Range<usize>>,
}

impl Run {
    fn of(bytes: &[u8], start: usize) -> Self {
        let (mut groups, mut at) = (Vec::new(), start);
        loop {
            let end = at
                + bytes[at..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit())
                    .count();
            groups.push(at..end);
            let between = bytes[end..].iter().take(4);
            let joint = between.take_while(|byte| b" .-/()".contains(byte)).count();
            let joint_is_one = is_joint(&bytes[end..end + joint]);
            let goes_on = bytes.get(end + joint).is_some_and(u8::is_ascii_digit);
            if !(joint_is_one && goes_on && groups.len() < 24) {
                return Self { groups };
            }
            at = end + joint;
        }
    }

    fn end(&self) -> usize {
        self.groups.last().expect("a run has a group").end
    }

    fn num_digits(&self) -> usize {
        self.groups.iter().map(Range::len).sum()
    }

    /// The digits of the groups from one to another.
    fn digits(&self, text: &str, groups: Range<usize>) -> String {
        self.groups[groups]
            .iter()
            .map(|group| &text[group.clone()])
            .collect()
    }

    /// Looks for numbers one after another: a run may be two of them with a blank between.
    fn see(
        &self,
        text: &str,
        regions: &mut dyn FnMut() -> &'static [&'static str],
        seen: &mut Vec<Sighting>,
    ) {
        let mut first = 0;
        while first < self.groups.len() {
            if let Some(after) = self.date(text, first) {
                first = after;
                continue;
            }
            let found = self
                .international(text, first)
                .or_else(|| self.national(text, first, regions));
            let Some(found) = found else { return };
            first = found.next;
            let span = found.start..extension(text, found.end);
            seen.push(
                Sighting::new(span, "PHONE", "a telephone number")
                    .scored(found.alone)
                    .beside(if found.takes_context { CONTEXT } else { &[] })
                    .unless(if found.is_sure { &[] } else { AGAINST }),
            );
        }
    }

    /// The group after a day or a time of day that stands here.
    fn date(&self, text: &str, first: usize) -> Option<usize> {
        let [a, b, c] = self.groups.get(first..first + 3)? else {
            return None;
        };
        let joint = |a: &Range<usize>, b: &Range<usize>| &text[a.end..b.start];
        let same = joint(a, b) == joint(b, c) && matches!(joint(a, b), "-" | "." | "/");
        let number = |group: &Range<usize>| text[group.clone()].parse::<u32>().unwrap_or(u32::MAX);
        let (year, month, day) = match (a.len(), c.len()) {
            (4, 1..=2) => (number(a), number(b), number(c)),
            (1..=2, 4) => (number(c), number(b), number(a)),
            _ => return None,
        };
        let is_day =
            (1900..2100).contains(&year) && month <= 31 && day <= 31 && month.min(day) <= 12;
        (same && is_day).then_some(first + 3)
    }

    /// A number with the code of a country.
    fn international(&self, text: &str, first: usize) -> Option<Found> {
        let (start, prefix) = prefix(text, &self.groups[first])?;
        // `3+4000000` is a sum.
        let before = text[..start].chars().next_back();
        let joined =
            |c: char| c.is_ascii_alphanumeric() || (prefix != Prefix::Plus && "-_/#.".contains(c));
        if before.is_some_and(joined) {
            return None;
        }
        let mut possible = None;
        for last in (first..self.groups.len()).rev() {
            let all = self.digits(text, first..last + 1);
            let digits = &all[prefix.num_digits()..];
            if !(7..=16).contains(&digits.len()) || !ends_free(text, self.groups[last].end) {
                continue;
            }
            let (code, national) = country(digits)?;
            let is_fraction = last == first + 1 && text[self.groups[first].end..].starts_with('.');
            if prefix != Prefix::Plus && is_fraction {
                return None;
            }
            if is_fiction(code, national) {
                return None;
            }
            let found = |alone| Found {
                start,
                end: self.groups[last].end,
                next: last + 1,
                alone,
                takes_context: true,
                is_sure: prefix == Prefix::Plus,
            };
            let regions = DATABASE.region(&code).unwrap_or_default();
            if regions.iter().any(|id| is_number(id, national)) {
                // In one piece, `00…` is an account's number as well.
                let grouped = last > first;
                return Some(found(match prefix {
                    Prefix::Plus => 0.9,
                    Prefix::Dialled(_) if grouped => 0.6,
                    Prefix::Dialled(_) => 0.3,
                }));
            }
            let is_long = prefix == Prefix::Plus && (8..=15).contains(&digits.len());
            let is_possible = regions.iter().any(|id| is_possible(id, national));
            if possible.is_none() && (is_long || is_possible) {
                possible = Some(found(match (prefix, is_possible) {
                    (Prefix::Plus, true) => 0.7,
                    (Prefix::Plus, false) => 0.4,
                    _ => 0.2,
                }));
            }
        }
        possible
    }

    /// A number as it is dialled within its country.
    fn national(
        &self,
        text: &str,
        first: usize,
        regions: &mut dyn FnMut() -> &'static [&'static str],
    ) -> Option<Found> {
        let group = &self.groups[first];
        // A bracket that closes behind the number is the sentence's.
        let closes = self.groups.get(first + 1);
        let closes = closes.is_some_and(|next| text[group.end..next.start].contains(')'));
        let in_brackets = text[..group.start].ends_with('(') && closes;
        let start = group.start - usize::from(in_brackets);
        let last = self.last_of_number(text, first);
        let end = self.groups[last].end;
        let digits = self.digits(text, first..last + 1);
        let num_groups = last + 1 - first;
        let free = starts_free(text, start) && ends_free(text, end);
        if !free
            || !(7..=13).contains(&digits.len())
            || is_other(text, start, &self.groups[first..last + 1])
        {
            return None;
        }
        let grouped = num_groups > 1 || in_brackets;
        let nanp = digits
            .strip_prefix('1')
            .filter(|rest| rest.len() == 10)
            .unwrap_or(&digits);
        let is_local_fiction = digits.len() == 7 && digits.starts_with("555");
        if is_local_fiction || is_fiction(1, nanp) || is_fiction_at_home(&digits) {
            return None;
        }
        let trunk = digits.starts_with('0') && num_groups >= 3 && (9..=11).contains(&digits.len());
        let joints = &text[group.end..end];
        let one_dot = num_groups == 2 && joints.contains('.') && !joints.contains([' ', '-', '/']);
        // A Chinese mobile number is written in one piece and is little else.
        let may_be_chinese = digits.len() == 11 && digits.starts_with('1') && !grouped;
        let is_written_so = num_groups >= 3 && digits.len() >= 8 || in_brackets;
        let alone = match () {
            () if one_dot => 0.0,
            () if is_grouped_as_nanp(text, start, &self.groups[first..last + 1]) => 0.6,
            () if trunk => 0.6,
            () if is_written_so && is_number_of(regions(), &digits) => 0.6,
            () if may_be_chinese
                && regions().first() == Some(&"CN")
                && is_number("CN", &digits) =>
            {
                0.55
            }
            () => 0.2,
        };
        let takes_context = grouped && !one_dot || is_number_of(ALL_REGIONS, &digits);
        Some(Found {
            start,
            end,
            next: last + 1,
            alone,
            takes_context,
            is_sure: false,
        })
    }

    /// Where a number ends that begins with a group: before a blank and the next number, or with the run.
    fn last_of_number(&self, text: &str, first: usize) -> usize {
        let begins = |next: usize| {
            let joint = &text[self.groups[next - 1].end..self.groups[next].start];
            let digits = self.digits(text, first..next).len();
            let group = &text[self.groups[next].clone()];
            let is_trunk = group.starts_with('0') && group.len() >= 3;
            joint.starts_with(' ') && digits >= 9 && (is_trunk || joint.ends_with('('))
        };
        let next = (first + 1..self.groups.len()).find(|&next| begins(next));
        next.unwrap_or(self.groups.len()) - 1
    }
}

/// A number that was found in a run.
struct Found {
    start: usize,
    end: usize,
    /// The group after it.
    next: usize,
    alone: f32,
    takes_context: bool,
    /// Is it no number of an order?
    is_sure: bool,
}

/// What stands between two groups of one number.
fn is_joint(joint: &[u8]) -> bool {
    matches!(
        joint,
        b" " | b"-"
            | b"."
            | b"/"
            | b")"
            | b"("
            | b") "
            | b" ("
            | b")-"
            | b" - "
            | b" / "
            | b")("
            | b") ("
            | b". "
            | b"-("
            | b"  "
            | b") - "
            | b") /"
    )
}

/// How a number is said to begin with a country's code.
#[derive(Clone, Copy, PartialEq)]
enum Prefix {
    Plus,
    /// Digits that are dialled to reach another country.
    Dialled(usize),
}

impl Prefix {
    fn num_digits(self) -> usize {
        match self {
            Self::Plus => 0,
            Self::Dialled(digits) => digits,
        }
    }
}

fn prefix(text: &str, group: &Range<usize>) -> Option<(usize, Prefix)> {
    let before = &text[..group.start];
    for plus in ["+", "+(", "(+", "%2B", "%2b"] {
        if before.ends_with(plus) {
            return Some((group.start - plus.len(), Prefix::Plus));
        }
    }
    let digits = &text[group.clone()];
    let dialled = [("0011", 4), ("00", 2), ("011", 3), ("010", 3), ("810", 3)];
    let (_, length) = dialled.iter().find(|(dialled, length)| {
        digits.starts_with(dialled)
            && (digits.len() == *length || *dialled == "00" || *dialled == "011")
    })?;
    Some((group.start, Prefix::Dialled(*length)))
}

/// The code of the country and what follows it.
fn country(digits: &str) -> Option<(u16, &str)> {
    (1..=3).find_map(|length| {
        let code = digits.get(..length)?.parse().ok()?;
        DATABASE.region(&code).map(|_| (code, &digits[length..]))
    })
}

/// How the numbers of a region are formed.
struct Region {
    numbers: Regex,
    prefix: Option<String>,
    lengths: Vec<u16>,
}

impl Region {
    fn of(id: &str) -> Option<Self> {
        let metadata = DATABASE.by_id(id)?;
        let kinds = metadata.descriptors();
        let kinds = [
            kinds.fixed_line(),
            kinds.mobile(),
            kinds.toll_free(),
            kinds.premium_rate(),
            kinds.shared_cost(),
            kinds.personal_number(),
            kinds.voip(),
            kinds.pager(),
            kinds.uan(),
            kinds.voicemail(),
        ];
        let kinds: Vec<_> = kinds.into_iter().flatten().collect();
        let patterns = kinds.iter().map(|kind| kind.national_number().as_str());
        let patterns: Vec<&str> = patterns.collect();
        let lengths = kinds.iter().flat_map(|kind| kind.possible_length());
        let pattern = format!("^(?:{})$", patterns.join("|"));
        Some(Self {
            numbers: RegexBuilder::new(&pattern)
                .ignore_whitespace(true)
                .unicode(false)
                .build()
                .ok()?,
            prefix: metadata.national_prefix().map(str::to_owned),
            lengths: lengths.copied().collect(),
        })
    }

    /// The regions asked for so far: each takes a regular expression of a few kilobytes.
    fn named(id: &str) -> Option<&'static Self> {
        static REGIONS: LazyLock<BTreeMap<String, OnceLock<Option<Region>>>> =
            LazyLock::new(|| {
                DATABASE
                    .iter()
                    .map(|region| (region.id().to_owned(), OnceLock::new()))
                    .collect()
            });
        REGIONS.get(id)?.get_or_init(|| Self::of(id)).as_ref()
    }

    fn stripped<'d>(&self, digits: &'d str) -> Option<&'d str> {
        digits.strip_prefix(self.prefix.as_deref()?)
    }
}

/// Is this a number of a region, with or without the digit that is dialled before it at home?
fn is_number(id: &str, digits: &str) -> bool {
    Region::named(id).is_some_and(|region| {
        region.numbers.is_match(digits)
            || region
                .stripped(digits)
                .is_some_and(|rest| region.numbers.is_match(rest))
    })
}

/// Has it the length of one?
fn is_possible(id: &str, digits: &str) -> bool {
    let long = |digits: &str| digits.len() as u16;
    Region::named(id).is_some_and(|region| {
        region.lengths.contains(&long(digits))
            || region
                .stripped(digits)
                .is_some_and(|rest| region.lengths.contains(&long(rest)))
    })
}

fn is_number_of(regions: &[&str], digits: &str) -> bool {
    regions.iter().any(|id| {
        // Where a digit is dialled before every number at home, one without it is not dialled at home.
        let at_home = Region::named(id).is_some_and(|region| match region.prefix.as_deref() {
            Some("0") if !digits.starts_with('0') => {
                matches!(
                    *id,
                    "IN" | "CN"
                        | "ID"
                        | "VN"
                        | "TR"
                        | "IR"
                        | "TW"
                        | "KR"
                        | "JP"
                        | "EG"
                        | "SA"
                        | "AE"
                        | "ZA"
                        | "NG"
                        | "PK"
                ) && digits.len() >= 9
            }
            _ => true,
        });
        at_home && is_number(id, digits)
    })
}

/// Regions in which a national number is looked for beside a word that says that it is one.
#[rustfmt::skip]
const ALL_REGIONS: &[&str] = &[
    "US", "GB", "DE", "FR", "ES", "IT", "NL", "BE", "CH", "AT", "PL", "CZ", "SK", "HU", "RO", "BG", "GR", "PT", "BR", "MX", "AR", "CL", "CO", "PE", "VE", "EC",
    "SE", "NO", "DK", "FI", "IS", "EE", "LV", "LT", "IE", "AU", "NZ", "ZA", "IN", "PK", "BD", "LK", "CN", "HK", "TW", "JP", "KR", "VN", "TH", "ID", "MY", "SG", "PH",
    "RU", "UA", "BY", "KZ", "TR", "IL", "SA", "AE", "EG", "MA", "DZ", "TN", "IR", "IQ", "JO", "NG", "KE", "HR", "RS", "SI",
];

/// The regions where the language of a text is spoken.
fn regions_of(text: &str) -> &'static [&'static str] {
    use whatlang::Lang;
    let head = &text[..text.floor_char_boundary(text.len().min(400))];
    let Some(info) = whatlang::detect(head) else {
        return &[];
    };
    match info.lang() {
        Lang::Cmn => &["CN", "TW", "HK", "SG"],
        Lang::Jpn => &["JP"],
        Lang::Kor => &["KR"],
        Lang::Rus => &["RU", "KZ", "BY"],
        Lang::Ukr => &["UA"],
        Lang::Bel => &["BY"],
        Lang::Bul => &["BG"],
        Lang::Srp | Lang::Mkd => &["RS", "MK"],
        Lang::Ell => &["GR", "CY"],
        Lang::Heb | Lang::Yid => &["IL"],
        Lang::Ara => &["SA", "EG", "AE", "MA", "JO", "IQ", "DZ", "TN"],
        Lang::Pes => &["IR"],
        Lang::Urd => &["PK"],
        Lang::Hin
        | Lang::Mar
        | Lang::Guj
        | Lang::Tam
        | Lang::Tel
        | Lang::Kan
        | Lang::Mal
        | Lang::Pan => &["IN"],
        Lang::Ben => &["BD", "IN"],
        Lang::Tha => &["TH"],
        Lang::Vie => &["VN"],
        Lang::Ind | Lang::Jav => &["ID", "MY"],
        Lang::Tur => &["TR"],
        Lang::Deu => &["DE", "AT", "CH"],
        Lang::Fra => &["FR", "BE", "CH", "CA"],
        Lang::Spa | Lang::Cat => &["ES", "MX", "AR", "CO", "CL", "PE"],
        Lang::Por => &["BR", "PT"],
        Lang::Ita => &["IT", "CH"],
        Lang::Nld | Lang::Afr => &["NL", "BE"],
        Lang::Swe => &["SE", "FI"],
        Lang::Dan | Lang::Nob => &["DK", "NO"],
        Lang::Fin => &["FI"],
        Lang::Pol => &["PL"],
        Lang::Ces | Lang::Slk => &["CZ", "SK"],
        Lang::Hun => &["HU"],
        Lang::Ron => &["RO"],
        Lang::Hrv | Lang::Slv => &["HR", "SI"],
        Lang::Eng => &["US", "GB"],
        _ => &[],
    }
}

/// Is this as North Americans write ten digits, and little else?
fn is_grouped_as_nanp(text: &str, start: usize, groups: &[Range<usize>]) -> bool {
    let with_one = groups.len() == 4 && &text[groups[0].clone()] == "1";
    let groups = &groups[usize::from(with_one)..];
    let [a, b, c] = groups else { return false };
    let from_two = |group: &Range<usize>| group.len() == 3 && text.as_bytes()[group.start] >= b'2';
    let one = |joint: &str| matches!(joint, " " | "-" | "." | "/" | ") " | ")" | ")-");
    let in_brackets = text[..a.start].ends_with('(') || text[start..].starts_with('(');
    from_two(a)
        && from_two(b)
        && c.len() == 4
        && one(&text[a.end..b.start])
        && matches!(&text[b.end..c.start], " " | "-" | ".")
        && (in_brackets || !text[a.end..b.start].starts_with(')'))
}

/// Is it an address on the internet, a book's number, a sum of money or the like?
fn is_other(text: &str, start: usize, groups: &[Range<usize>]) -> bool {
    let span = &text[start..groups.last().expect("there is one").end];
    let joints = groups
        .windows(2)
        .map(|pair| &text[pair[0].end..pair[1].start]);
    let joints: Vec<&str> = joints.collect();
    let of = |joint: &str| !joints.is_empty() && joints.iter().all(|other| *other == joint);
    let lengths: Vec<usize> = groups.iter().map(Range::len).collect();
    // A Brazilian's and a United States citizen's number.
    let is_state_s = lengths == [3, 3, 3, 2] && joints == [".", ".", "-"]
        || lengths == [3, 2, 4] && (of("-") || of(" "));
    let is_ip = groups.len() >= 4
        && joints[..3].iter().all(|joint| *joint == ".")
        && text[start..groups[3].end]
            .parse::<std::net::Ipv4Addr>()
            .is_ok();
    let is_book = of("-")
        && groups.len() >= 4
        && (span.starts_with("978-")
            || span.starts_with("979-")
            || groups[0].len() == 1 && groups.last().is_some_and(|last| last.len() == 1));
    // `1.234.567` and `1 234 567`
    let in_thousands = groups.len() > 1
        && groups[0].len() <= 3
        && groups[1..].iter().all(|group| group.len() == 3)
        && (of(".") || of(" "))
        && !span.starts_with('0')
        && groups.len() != 3;
    // One digit is a number of a list or a version, but for what is dialled before the rest.
    let first = &text[groups[0].clone()];
    let lone = groups[0].len() == 1
        && !matches!(first, "0" | "1" | "7" | "8" | "9")
        && !span.starts_with('(');
    // A year in brackets is a citation's: `31 (2010) 455-461`.
    let year = groups.iter().any(|group| {
        let year = &text[group.clone()];
        group.start > start
            && year.len() == 4
            && (year.starts_with("19") || year.starts_with("20"))
            && text[..group.start].ends_with('(')
    });
    // Versions have groups of one digit, telephone numbers only before the rest.
    let has_single = lengths[1..].contains(&1);
    has_single
        || is_state_s
        || follows_account(&text[..start])
        || is_ip
        || is_book
        || in_thousands
        || lone
        || year
}

/// Do the groups before belong to an account's number (IBAN)?
fn follows_account(before: &str) -> bool {
    static ACCOUNT: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?-u:\b)[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4})* $").expect("the pattern is valid")
    });
    before.ends_with(' ')
        && ACCOUNT.is_match(&before[before.floor_char_boundary(before.len().saturating_sub(48))..])
}

/// The end with an extension that follows.
fn extension(text: &str, end: usize) -> usize {
    static EXTENSION: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^(?i) ?(?:x|ext\.?|extension|#|доб\.?|poste|int\.?|interno|dw|durchwahl|内線|转|ramal) ?\.?[0-9]{1,6}(?-u:\b)").expect("the pattern is valid")
    });
    let reach = text.floor_char_boundary((end + 32).min(text.len()));
    EXTENSION
        .find(&text[end..reach])
        .map_or(end, |found| end + found.end())
}

/// Numbers that are kept for films and examples: `national` of the country with this code.
fn is_fiction(code: u16, national: &str) -> bool {
    let national = national.strip_prefix('0').unwrap_or(national);
    match code {
        1 => national.len() == 10 && &national[3..8] == "55501",
        44 => [
            "7700900", "20794600", "20794601", "20794602", "20794603", "20794604", "20794605",
            "20794606", "20794607", "20794608", "20794609", "1632960", "1134960", "1144960",
            "1154960", "1164960", "1174960", "1184960", "1214960", "1314960", "1414960", "1514960",
            "1614960", "1914980", "8081570", "9098790", "3069990",
        ]
        .iter()
        .any(|kept| national.starts_with(kept)),
        33 => ["19900", "26191", "35301", "46571", "53649", "63998"]
            .iter()
            .any(|kept| national.starts_with(kept)),
        61 => ["491570", "491571", "255501", "355501", "755501", "855501"]
            .iter()
            .any(|kept| national.starts_with(kept)),
        _ => false,
    }
}

/// The same as they are dialled at home.
fn is_fiction_at_home(digits: &str) -> bool {
    digits.starts_with('0')
        && (is_fiction(44, digits) && digits.len() == 11
            || is_fiction(33, digits) && digits.len() == 10)
}

/// Is this not the middle of an identifier, an amount or a longer number?
fn starts_free(text: &str, start: usize) -> bool {
    let mut before = text[..start].chars().rev();
    match (before.next(), before.next()) {
        // The seconds of a time of day.
        (Some(':'), Some('0'..='9')) => false,
        (Some(c), _) => !(c.is_ascii_alphanumeric() || "-_/#$€£%.+".contains(c)),
        (None, _) => true,
    }
}

fn ends_free(text: &str, end: usize) -> bool {
    let rest = &text[end..];
    let mut after = rest.chars();
    match (after.next(), after.next()) {
        // `0791234567-Office`
        (Some('-'), Some('A'..='Z')) => true,
        (Some('-' | '/' | '.' | '='), Some(c)) => !c.is_ascii_alphanumeric(),
        (Some('x'), Some(c)) => c.is_ascii_digit(),
        (Some('e'), _) => rest.starts_with("ext"),
        (Some(c), _) => !c.is_ascii_alphabetic() && c != '_' && c != '%',
        (None, _) => true,
    }
}

/// The numbers that are written with the code of their country: what tells the country of those that are not.
#[derive(Debug, Default)]
pub(crate) struct Countries {
    /// The countries that have a number, by what is dialled within them.
    of: BTreeMap<String, BTreeSet<u16>>,
}

impl Countries {
    /// Takes a number, if it is written with the code of its country.
    pub fn meet(&mut self, number: &str) {
        if let Some((code, national)) = abroad(number) {
            self.of.entry(national).or_default().insert(code);
        }
    }

    /// A number as it is the same for all its spellings: the code of its country, where that is known, and what is
    /// dialled there. Without a code it is the number of the one country that it is written for elsewhere.
    pub fn canonical(&self, number: &str) -> String {
        if let Some((code, national)) = abroad(number) {
            return format!("{code} {national}");
        }
        let digits = digits_of(number);
        let most = digits.len().saturating_sub(6).min(3);
        let known = (0..=most).find_map(|dialled| {
            let (prefix, national) = digits.split_at(dialled);
            let codes = self.of.get(national)?;
            let mut codes = codes.iter().filter(|code| is_dialled(**code, prefix));
            let code = codes.next()?;
            // Of two countries nobody knows which is meant.
            codes.next().is_none().then(|| format!("{code} {national}"))
        });
        known.unwrap_or_else(|| at_home(&digits).to_owned())
    }
}

/// Is this what is dialled before a number within the country of this code?
fn is_dialled(code: u16, prefix: &str) -> bool {
    let regions = DATABASE.region(&code).unwrap_or_default();
    let of_region = |id: &&str| Region::named(id)?.prefix.as_deref();
    prefix.bytes().all(|digit| digit == b'0')
        || regions
            .iter()
            .filter_map(of_region)
            .any(|known| known == prefix)
}

/// Its digits, without those of an extension.
fn digits_of(number: &str) -> String {
    let number = number.split(['x', 'e', '#']).next().unwrap_or_default();
    number.chars().filter(char::is_ascii_digit).collect()
}

/// The code of the country and what is dialled there, of a number that is written with it.
fn abroad(number: &str) -> Option<(u16, String)> {
    let digits = digits_of(number);
    let has_plus = number.contains('+') || number.starts_with("%2b");
    let digits = match has_plus {
        // `%2B` is a plus.
        true => digits.strip_prefix(if number.starts_with('%') { "2" } else { "" })?,
        false => {
            let dialled = ["0011", "00", "011"]
                .iter()
                .find_map(|dialled| digits.strip_prefix(dialled));
            let group = number
                .split(|c: char| !c.is_ascii_digit())
                .find(|group| !group.is_empty());
            let grouped = ["010", "810"]
                .into_iter()
                .find(|dialled| group == Some(*dialled));
            let rest = dialled.or_else(|| digits.strip_prefix(grouped?));
            rest.filter(|rest| rest.len() >= 9)?
        }
    };
    let (code, national) = country(digits)?;
    let regions = DATABASE.region(&code).unwrap_or_default();
    let national = national.trim_start_matches('0');
    // What is dialled to reach another country is also how numbers of some begin.
    let is_one = has_plus || regions.iter().any(|id| is_possible(id, national));
    is_one.then(|| (code, national.to_owned()))
}

/// A number without what is dialled before it within its country, which nobody has named.
fn at_home(digits: &str) -> &str {
    let national = match (digits.len(), digits.as_bytes().first()) {
        (11, Some(b'1' | b'8')) => &digits[1..],
        (11, _) if digits.starts_with("06") => &digits[2..],
        _ => digits,
    };
    national.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use hone_data::Place;

    use super::*;

    fn found(text: &str) -> Vec<String> {
        let view = View::new(Place::Text, text);
        let mut seen = Vec::new();
        see(&view, &mut seen);
        let sure = seen.iter().filter(|sighting| sighting.score(&view) >= 0.5);
        sure.map(|sighting| text[view.back(&sighting.span)].to_owned())
            .collect()
    }

    #[test]
    fn numbers_are_found_as_each_country_writes_them() {
        for (text, number) in [
            ("Call me on 0033 6 12 34 56 78", "0033 6 12 34 56 78"),
            ("Telefon 0049 30 9018 2034", "0049 30 9018 2034"),
            ("call 011 44 20 7946 1234", "011 44 20 7946 1234"),
            (
                "Tel: +49\u{a0}151\u{a0}23456789",
                "+49\u{a0}151\u{a0}23456789",
            ),
            (
                "Phone: 415\u{2011}867\u{2011}2309",
                "415\u{2011}867\u{2011}2309",
            ),
            ("Call 138 1234 5678", "138 1234 5678"),
            ("Call (11) 91234-5678", "(11) 91234-5678"),
            ("我的手机号是13812345678请打给我", "13812345678"),
            ("電話は090-1234-5678です", "090-1234-5678"),
            ("Звоните 8 (912) 345-67-89", "8 (912) 345-67-89"),
            ("+41 (0)79 234 56 78 oder", "+41 (0)79 234 56 78"),
            ("?tel=%2B41792345678&x=1", "%2B41792345678"),
            ("name,telefon\nBo,0792345678", "0792345678"),
        ] {
            assert_eq!(found(text), [number], "{text}");
        }
    }

    #[test]
    fn two_numbers_side_by_side_are_two() {
        assert_eq!(found("Tel. 079 234 56 78 079 234 56 79").len(), 2);
        assert_eq!(found("2024-03-11 079 234 56 78"), ["079 234 56 78"]);
    }

    #[test]
    fn numbers_of_orders_books_days_and_networks_are_none() {
        for text in [
            "order number 4158672309",
            "Bestellnummer 0301 2345678",
            "ISBN 978-3-16-148410-0",
            "2023-11-05 14:30:00",
            "10.20.30.40 and 1.234.567.890",
            "commit 1234567890123",
            "id 3379658e74d4c6fd, 28391468300e9ee9",
            "2024-11-20T11:34:01.636000-05:00",
            "x + 278326125*y",
            "01 02 03 04 05 06 07 08 09 10 11 12",
            "Chromium 126.0.6478.126",
            "Call 020 7946 0123 or 07700 900123",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn all_spellings_of_a_number_are_one() {
        for spellings in [
            [
                "+41 79 234 56 78",
                "0041792345678",
                "079 234 56 78",
                "+41 (0)79 234 56 78",
            ],
            [
                "+1 (415) 867-2309",
                "415.867.2309",
                "1-415-867-2309",
                "011 1 415 867 2309",
            ],
            [
                "+7 912 345-67-89",
                "8 (912) 345 67 89",
                "89123456789",
                "912 345 67 89",
            ],
            [
                "+86 138 1234 5678",
                "138 1234 5678",
                "13812345678",
                "0086 13812345678",
            ],
            [
                "+39 06 1234 5678",
                "06 1234 5678",
                "0612345678",
                "%2b390612345678",
            ],
        ] {
            // Another country's number of the same digits is in nobody's way but of those that name no country.
            for others in [&["+49 30 9018 2034"][..], &[]] {
                let mut countries = Countries::default();
                let met = spellings.iter().chain(others);
                met.for_each(|number| countries.meet(number));
                let one = countries.canonical(spellings[0]);
                let same = |text: &&str| countries.canonical(text) == one;
                assert!(spellings.iter().all(same), "{spellings:?}");
            }
        }
    }

    #[test]
    fn the_same_digits_in_two_countries_are_two_numbers() {
        let mut countries = Countries::default();
        let numbers = ["+41 79 234 56 78", "+49 79 234 56 78"];
        numbers.iter().for_each(|number| countries.meet(number));
        let [one, other] = numbers.map(|number| countries.canonical(number));
        assert_ne!(one, other);
        assert_eq!(countries.canonical("0041 79 234 56 78"), one);
        let without = countries.canonical("079 234 56 78");
        assert!(without != one && without != other);
        assert_eq!(without, countries.canonical("0792345678"));
    }
}
