//! Numbers by which states know people.
//!
//! One table: how a number is written, what its check digits say, how sure that makes, and the words beside it. A
//! number whose form alone is common (nine bare digits) counts only beside such a word, even if its check digit agrees.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::check_digits::{digits, is_day, luhn, mod_11_10, verhoeff, weighted};
use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "national-number",
    family: Family::PersonalData,
    summary: "a number by which a state knows a person",
    why: "Such a number stays with a person for life and opens accounts, records and credit in their name.",
    what: "US SSN, ITIN, NPI and bank routing number (ABA); Canadian SIN; UK NHS number and NINO; Irish PPSN; German tax id; Austrian and Swiss social security numbers (SVNR, AHV); French NIR; Belgian NISS; Spanish NIF and NIE; Portuguese NIF; Italian codice fiscale; Dutch BSN; Polish PESEL; Czech and Slovak birth numbers; Romanian CNP; Bulgarian EGN; Croatian OIB; Greek AMKA; Swedish personnummer; Danish CPR; Norwegian fødselsnummer; Finnish HETU; Estonian and Lithuanian personal codes; Russian SNILS and INN; Ukrainian RNOKPP; Kazakh IIN; Turkish TC Kimlik; Israeli id; South African id; Egyptian national number; Iranian national code; Indian Aadhaar; Pakistani CNIC; Australian TFN and Medicare; Chinese resident identity number; HKID; Taiwanese id; Japanese My Number; Korean RRN; Singaporean NRIC; Malaysian MyKad; Indonesian NIK; Thai id; Brazilian CPF; Mexican CURP and RFC; Chilean RUT; Argentine CUIT. Form, calendar days inside and check digits as the issuers publish them. Labels such as `US_SSN`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

/// One kind of number.
struct Scheme {
    label: &'static str,
    message: &'static str,
    pattern: &'static str,
    is_valid: fn(&str) -> bool,
    /// How sure form and check digits make.
    alone: f32,
    context: &'static [&'static str],
}

#[rustfmt::skip]
const SCHEMES: &[Scheme] = &[
    Scheme { label: "US_SSN", message: "a US social security number", pattern: r"[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}", is_valid: us_ssn, alone: 0.6, context: &["ssn*", "social security"] },
    Scheme { label: "US_SSN", message: "a US social security number", pattern: r"[0-8][0-9]{2} ?[0-9]{2} ?[0-9]{4}", is_valid: us_ssn, alone: 0.1, context: &["ssn*", "social security"] },
    Scheme { label: "US_ITIN", message: "a US taxpayer number", pattern: r"9[0-9]{2}[- ]?(?:5[0-9]|6[0-5]|7[0-9]|8[0-8]|9[0-24-9])[- ]?[0-9]{4}", is_valid: always, alone: 0.1, context: &["itin", "taxpayer", "tax id"] },
    Scheme { label: "US_NPI", message: "a US provider number", pattern: r"[12][0-9]{9}", is_valid: us_npi, alone: 0.1, context: &["npi", "provider"] },
    Scheme { label: "US_ABA", message: "a US bank routing number", pattern: r"[0-3][0-9]{8}", is_valid: us_aba, alone: 0.05, context: &["aba", "routing"] },
    Scheme { label: "UK_NHS", message: "an NHS number", pattern: r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}", is_valid: uk_nhs, alone: 0.1, context: &["nhs", "national health"] },
    Scheme { label: "UK_NINO", message: "a UK national insurance number", pattern: r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]", is_valid: uk_nino, alone: 0.6, context: &["national insurance", "nino", "ni"] },
    Scheme { label: "DE_TAX_ID", message: "a German tax id", pattern: r"[1-9][0-9] ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}", is_valid: de_tax_id, alone: 0.1, context: &["steuer*", "idnr", "tin", "tax id", "identifikationsnummer"] },
    Scheme { label: "FR_NIR", message: "a French social security number", pattern: r"[12] ?[0-9]{2} ?(?:0[1-9]|1[0-2]|[2-9][0-9]) ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}", is_valid: fr_nir, alone: 0.6, context: &["nir", "sécurité sociale", "insee", "social security"] },
    Scheme { label: "ES_NIF", message: "a Spanish identity number", pattern: r"(?i-u:(?:[0-9]{8}|[0-9]{2}\.[0-9]{3}\.[0-9]{3}|[XYZ]-?[0-9]{7})-?[A-HJ-NP-TV-Z])", is_valid: es_nif, alone: 0.6, context: &["nif", "dni", "nie"] },
    Scheme { label: "IT_FISCAL_CODE", message: "an Italian fiscal code", pattern: r"(?i-u:[A-Z]{6}[0-9]{2}[A-EHLMPR-T][0-9]{2}[A-Z][0-9]{3}[A-Z])", is_valid: it_fiscal_code, alone: 0.9, context: &["codice fiscale", "cf"] },
    Scheme { label: "PL_PESEL", message: "a Polish PESEL", pattern: r"[0-9]{11}", is_valid: pl_pesel, alone: 0.2, context: &["pesel"] },
    Scheme { label: "NL_BSN", message: "a Dutch citizen service number", pattern: r"[0-9]{3}[. ]?[0-9]{3}[. ]?[0-9]{3}", is_valid: nl_bsn, alone: 0.05, context: &["bsn", "burgerservicenummer", "sofinummer"] },
    Scheme { label: "SE_PERSONNUMMER", message: "a Swedish personal number", pattern: r"(?:[12][0-9])?[0-9]{6}[-+][0-9]{4}", is_valid: se_personnummer, alone: 0.6, context: &["personnummer", "personnr"] },
    Scheme { label: "SE_PERSONNUMMER", message: "a Swedish personal number", pattern: r"(?:[12][0-9])?[0-9]{10}", is_valid: se_personnummer, alone: 0.1, context: &["personnummer*", "personnr", "pnr"] },
    Scheme { label: "FI_HETU", message: "a Finnish identity code", pattern: r"[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]", is_valid: fi_hetu, alone: 0.9, context: &["hetu", "henkilötunnus"] },
    Scheme { label: "IN_AADHAAR", message: "an Aadhaar number", pattern: r"[2-9][0-9]{3}[ -]?[0-9]{4}[ -]?[0-9]{4}", is_valid: in_aadhaar, alone: 0.2, context: &["aadhaar", "aadhar", "uid", "uidai", "आधार"] },
    Scheme { label: "AU_TFN", message: "an Australian tax file number", pattern: r"[0-9]{3} ?[0-9]{3} ?[0-9]{3}", is_valid: au_tfn, alone: 0.05, context: &["tfn", "tax file"] },
    Scheme { label: "AU_MEDICARE", message: "an Australian Medicare number", pattern: r"[2-6][0-9]{3} ?[0-9]{5} ?[0-9]", is_valid: au_medicare, alone: 0.05, context: &["medicare"] },
    Scheme { label: "CN_RESIDENT_ID", message: "a Chinese resident identity number", pattern: r"[1-9][0-9]{16}[0-9Xx]", is_valid: cn_resident_id, alone: 0.9, context: &["身份证", "身份證"] },
    Scheme { label: "KR_RRN", message: "a Korean resident number", pattern: r"[0-9]{6}-[1-8][0-9]{6}", is_valid: kr_rrn, alone: 0.6, context: &["rrn", "주민"] },
    Scheme { label: "BR_CPF", message: "a Brazilian CPF", pattern: r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", is_valid: br_cpf, alone: 0.9, context: &["cpf"] },
    Scheme { label: "BR_CPF", message: "a Brazilian CPF", pattern: r"[0-9]{11}", is_valid: br_cpf, alone: 0.1, context: &["cpf"] },
    Scheme { label: "CH_AHV", message: "a Swiss AHV number", pattern: r"756\.[0-9]{4}\.[0-9]{4}\.[0-9]{2}", is_valid: ch_ahv, alone: 0.9, context: &["ahv*", "avs", "sozialversicherung*"] },
    Scheme { label: "CH_AHV", message: "a Swiss AHV number", pattern: r"756[ -]?[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{2}", is_valid: ch_ahv, alone: 0.4, context: &["ahv*", "avs", "navs*", "sozialversicherung*", "assurance sociale", "numéro avs"] },
    Scheme { label: "RU_SNILS", message: "a Russian SNILS", pattern: r"[0-9]{3}-[0-9]{3}-[0-9]{3}[ -][0-9]{2}", is_valid: ru_snils, alone: 0.9, context: &["снилс", "snils"] },
    Scheme { label: "RU_SNILS", message: "a Russian SNILS", pattern: r"[0-9]{11}", is_valid: ru_snils, alone: 0.1, context: &["снилс", "snils"] },
    Scheme { label: "RU_INN", message: "a Russian taxpayer number", pattern: r"[0-9]{12}", is_valid: ru_inn, alone: 0.1, context: &["инн", "inn"] },
    Scheme { label: "MX_CURP", message: "a Mexican CURP", pattern: r"(?i-u:[A-Z][AEIOUX][A-Z]{2}[0-9]{6}[HMX][A-Z]{2}[B-DF-HJ-NP-TV-Z]{3}[0-9A-Z][0-9])", is_valid: mx_curp, alone: 0.9, context: &["curp"] },
    Scheme { label: "MX_RFC", message: "a Mexican taxpayer number", pattern: r"[A-Z]{4}[0-9]{6}[A-Z0-9]{3}", is_valid: mx_rfc, alone: 0.4, context: &["rfc"] },
    Scheme { label: "SG_NRIC", message: "a Singaporean NRIC or FIN", pattern: r"[STFGM][0-9]{7}[A-Z]", is_valid: sg_nric, alone: 0.6, context: &["nric", "fin", "identity card"] },
    Scheme { label: "HK_HKID", message: "a Hong Kong identity number", pattern: r"[A-Z]{1,2}[0-9]{6}\([0-9A]", is_valid: hk_hkid, alone: 0.9, context: &["hkid", "身份證", "identity card"] },
    Scheme { label: "HK_HKID", message: "a Hong Kong identity number", pattern: r"[A-Z]{1,2}[0-9]{6}-?[0-9A]", is_valid: hk_hkid, alone: 0.2, context: &["hkid", "身份證", "身份证", "identity card", "hk id"] },
    Scheme { label: "JP_MY_NUMBER", message: "a Japanese My Number", pattern: r"[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}", is_valid: jp_my_number, alone: 0.1, context: &["マイナンバー", "個人番号", "my number", "mynumber", "individual number"] },
    Scheme { label: "CL_RUT", message: "a Chilean RUT", pattern: r"[0-9]{1,2}\.[0-9]{3}\.[0-9]{3}-[0-9Kk]", is_valid: cl_rut, alone: 0.9, context: &["rut", "run"] },
    Scheme { label: "CL_RUT", message: "a Chilean RUT", pattern: r"[0-9]{7,8}-[0-9Kk]", is_valid: cl_rut, alone: 0.3, context: &["rut", "run", "rol único", "cédula"] },
    Scheme { label: "RO_CNP", message: "a Romanian CNP", pattern: r"[1-8][0-9]{12}", is_valid: ro_cnp, alone: 0.4, context: &["cnp", "cod numeric personal", "numeric personal"] },
    Scheme { label: "IE_PPSN", message: "an Irish PPSN", pattern: r"[0-9]{7}[A-W][A-IW]?", is_valid: ie_ppsn, alone: 0.4, context: &["pps*", "personal public service"] },
    Scheme { label: "TR_KIMLIK", message: "a Turkish identity number", pattern: r"[1-9][0-9]{10}", is_valid: tr_kimlik, alone: 0.2, context: &["kimlik*", "tckn", "tc no", "tc", "vatandaşlık*"] },
    Scheme { label: "BE_NISS", message: "a Belgian national number", pattern: r"[0-9]{2}\.?[0-9]{2}\.?[0-9]{2}[- ]?[0-9]{3}[. ]?[0-9]{2}", is_valid: be_niss, alone: 0.2, context: &["rijksregister*", "registre national", "niss", "insz", "nationaal nummer", "numéro national"] },
    Scheme { label: "BE_NISS", message: "a Belgian national number", pattern: r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}", is_valid: be_niss, alone: 0.9, context: &["niss", "insz"] },
    Scheme { label: "DK_CPR", message: "a Danish CPR number", pattern: r"[0-9]{6}-?[0-9]{4}", is_valid: dk_cpr, alone: 0.2, context: &["cpr*", "personnummer*"] },
    Scheme { label: "NO_FODSELSNUMMER", message: "a Norwegian birth number", pattern: r"[0-9]{6} ?[0-9]{5}", is_valid: no_fodselsnummer, alone: 0.2, context: &["fødselsnummer*", "fodselsnummer", "personnummer*", "fnr"] },
    Scheme { label: "CZ_RC", message: "a Czech or Slovak birth number", pattern: r"[0-9]{6}/[0-9]{3,4}", is_valid: cz_rc, alone: 0.6, context: &["rodné číslo", "rč", "rodne cislo", "rodného čísla"] },
    Scheme { label: "CZ_RC", message: "a Czech or Slovak birth number", pattern: r"[0-9]{10}", is_valid: cz_rc, alone: 0.1, context: &["rodné číslo", "rč", "rodne cislo"] },
    Scheme { label: "PT_NIF", message: "a Portuguese taxpayer number", pattern: r"[1-35-9][0-9]{2} ?[0-9]{3} ?[0-9]{3}", is_valid: pt_nif, alone: 0.05, context: &["nif", "contribuinte"] },
    Scheme { label: "AT_SVNR", message: "an Austrian social security number", pattern: r"[1-9][0-9]{3} ?[0-9]{6}", is_valid: at_svnr, alone: 0.2, context: &["svnr", "sv nr", "sozialversicherung*", "versicherungsnummer"] },
    Scheme { label: "GR_AMKA", message: "a Greek AMKA", pattern: r"[0-9]{11}", is_valid: gr_amka, alone: 0.1, context: &["αμκα", "amka"] },
    Scheme { label: "BG_EGN", message: "a Bulgarian EGN", pattern: r"[0-9]{10}", is_valid: bg_egn, alone: 0.1, context: &["егн", "egn"] },
    Scheme { label: "HR_OIB", message: "a Croatian OIB", pattern: r"[0-9]{11}", is_valid: hr_oib, alone: 0.1, context: &["oib"] },
    Scheme { label: "BALTIC_CODE", message: "an Estonian or Lithuanian personal code", pattern: r"[1-6][0-9]{10}", is_valid: baltic_code, alone: 0.2, context: &["isikukood*", "asmens kod*", "personal code"] },
    Scheme { label: "ZA_ID", message: "a South African identity number", pattern: r"[0-9]{13}", is_valid: za_id, alone: 0.3, context: &["id number", "identity number", "sa id", "south african id"] },
    Scheme { label: "IL_ID", message: "an Israeli identity number", pattern: r"[0-9]{9}", is_valid: il_id, alone: 0.05, context: &["תעודת זהות", "תז", "ת ז", "teudat zehut"] },
    Scheme { label: "TW_ID", message: "a Taiwanese identity number", pattern: r"[A-Z][1289][0-9]{8}", is_valid: tw_id, alone: 0.6, context: &["身分證", "身份證"] },
    Scheme { label: "TH_ID", message: "a Thai identity number", pattern: r"[0-9][- ]?[0-9]{4}[- ]?[0-9]{5}[- ]?[0-9]{2}[- ]?[0-9]", is_valid: th_id, alone: 0.2, context: &["ประชาชน", "thai id", "citizen id"] },
    Scheme { label: "AR_CUIT", message: "an Argentine CUIT or CUIL", pattern: r"(?:20|23|24|27|30|33|34)-?[0-9]{8}-?[0-9]", is_valid: ar_cuit, alone: 0.4, context: &["cuit", "cuil"] },
    Scheme { label: "UA_RNOKPP", message: "a Ukrainian taxpayer number", pattern: r"[0-9]{10}", is_valid: ua_rnokpp, alone: 0.1, context: &["рнокпп", "іпн", "інн", "ідентифікаційний"] },
    Scheme { label: "KZ_IIN", message: "a Kazakh IIN", pattern: r"[0-9]{12}", is_valid: kz_iin, alone: 0.2, context: &["иин", "жсн", "iin"] },
    Scheme { label: "EG_ID", message: "an Egyptian national number", pattern: r"[23][0-9]{13}", is_valid: eg_id, alone: 0.4, context: &["القومي", "national id"] },
    Scheme { label: "IR_CODE", message: "an Iranian national code", pattern: r"[0-9]{10}", is_valid: ir_code, alone: 0.1, context: &["کد ملی", "کدملی", "شماره ملی", "national code"] },
    Scheme { label: "PK_CNIC", message: "a Pakistani CNIC", pattern: r"[1-7][0-9]{4}-[0-9]{7}-[0-9]", is_valid: always, alone: 0.6, context: &["cnic", "nadra"] },
    Scheme { label: "MY_KAD", message: "a Malaysian identity number", pattern: r"[0-9]{6}-[0-9]{2}-[0-9]{4}", is_valid: my_kad, alone: 0.6, context: &["mykad", "nric", "ic", "kad pengenalan"] },
    Scheme { label: "ID_NIK", message: "an Indonesian NIK", pattern: r"[1-9][0-9]{15}", is_valid: id_nik, alone: 0.2, context: &["nik", "ktp"] },
    Scheme { label: "CA_SIN", message: "a Canadian social insurance number", pattern: r"[1-79][0-9]{2}[ -]?[0-9]{3}[ -]?[0-9]{3}", is_valid: ca_sin, alone: 0.05, context: &["sin", "social insurance", "nas", "assurance sociale"] },
];

fn bounded(scheme: &Scheme) -> String {
    format!(r"(?-u:\b)(?:{})(?-u:\b)", scheme.pattern)
}

/// Which schemes have any match at all: one pass over the text for all of them.
static ANY: LazyLock<RegexSet> =
    LazyLock::new(|| RegexSet::new(SCHEMES.iter().map(bounded)).expect("the patterns are valid"));

static EACH: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let regex = |scheme| Regex::new(&bounded(scheme)).expect("the pattern is valid");
    SCHEMES.iter().map(regex).collect()
});

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    // The shortest of them has six digits.
    for near in view.around_digits(6) {
        let part = &text[near.clone()];
        for scheme in &ANY.matches(part) {
            let (scheme, regex) = (&SCHEMES[scheme], &EACH[scheme]);
            for found in regex.find_iter(part) {
                let (start, mut end) = (near.start + found.start(), near.start + found.end());
                // The bracket of `A123456(3)` closes.
                if found.as_str().contains('(') {
                    end += usize::from(text[end..].starts_with(')'));
                }
                if !touches_number(text, start, end)
                    && (scheme.is_valid)(&found.as_str().to_ascii_uppercase())
                {
                    seen.push(
                        Sighting::new(start..end, scheme.label, scheme.message)
                            .scored(scheme.alone)
                            .beside(scheme.context)
                            .checked(),
                    );
                }
            }
        }
    }
}

/// Is this a part of a longer number, an amount or an identifier?
fn touches_number(text: &str, start: usize, end: usize) -> bool {
    let joins = |c: u8| b"-_./+#$".contains(&c);
    let (before, after) = (&text.as_bytes()[..start], &text.as_bytes()[end..]);
    let behind = before.last().is_some_and(|&c| joins(c));
    let ahead = matches!(after, [c, next, ..] if joins(*c) && next.is_ascii_alphanumeric());
    behind || ahead
}

fn always(_: &str) -> bool {
    true
}

/// Areas 000, 666 and 9xx, group 00 and serial 0000 were never given (SSA); three numbers became famous.
fn us_ssn(number: &str) -> bool {
    let d = digits(number);
    let part = |range: std::ops::Range<usize>| {
        d[range]
            .iter()
            .fold(0u32, |sum, &digit| sum * 10 + u32::from(digit))
    };
    let (area, group, serial) = (part(0..3), part(3..5), part(5..9));
    let famous = matches!(
        (area, group, serial),
        (123, 45, 6789) | (78, 5, 1120) | (219, 9, 9999)
    );
    !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0 && !famous && !all_alike(&d)
}

fn us_npi(number: &str) -> bool {
    luhn(&[&[8, 0, 8, 4, 0], digits(number).as_slice()].concat())
}

fn us_aba(number: &str) -> bool {
    let d = digits(number);
    weighted(&d, &[3, 7, 1, 3, 7, 1, 3, 7, 1]) % 10 == 0 && !all_alike(&d)
}

fn uk_nhs(number: &str) -> bool {
    let d = digits(number);
    let check = 11 - weighted(&d, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    check % 11 == i32::from(d[9]) && check != 10 && !all_alike(&d)
}

fn uk_nino(number: &str) -> bool {
    !["BG", "GB", "NK", "KN", "TN", "NT", "ZZ"].contains(&&number[..2])
}

/// Of the first ten digits one stands there twice or three times (BZSt).
fn de_tax_id(number: &str) -> bool {
    let d = digits(number);
    let most = (0..10)
        .map(|digit| d[..10].iter().filter(|&&other| other == digit).count())
        .max();
    matches!(most, Some(2 | 3)) && mod_11_10(&d)
}

fn fr_nir(number: &str) -> bool {
    let plain: String = number.chars().filter(|c| !c.is_whitespace()).collect();
    let (body, key) = plain.split_at(13);
    // Corsica's departments 2A and 2B count as 19 and 18.
    let body = body.replace("2A", "19").replace("2B", "18");
    match (body.parse::<u64>(), key.parse::<u64>()) {
        (Ok(body), Ok(key)) => key == 97 - body % 97,
        _ => false,
    }
}

fn es_nif(number: &str) -> bool {
    const LETTERS: &[u8] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let plain = number.replace(['-', '.'], "");
    let (body, letter) = plain.split_at(8);
    let body = body
        .replacen('X', "0", 1)
        .replacen('Y', "1", 1)
        .replacen('Z', "2", 1);
    let rest = body.parse::<usize>().map(|body| body % 23);
    rest.is_ok_and(|rest| letter.as_bytes() == [LETTERS[rest]])
}

/// Values of characters at odd places; at even places a letter counts its place in the alphabet.
fn it_fiscal_code(code: &str) -> bool {
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let value = |c: u8| {
        u32::from(if c.is_ascii_digit() {
            c - b'0'
        } else {
            c - b'A'
        })
    };
    let bytes = code.as_bytes();
    let sum: u32 = bytes[..15]
        .iter()
        .enumerate()
        .map(|(place, &c)| {
            if place % 2 == 0 {
                ODD[value(c) as usize]
            } else {
                value(c)
            }
        })
        .sum();
    sum % 26 == u32::from(bytes[15] - b'A')
}

fn pl_pesel(number: &str) -> bool {
    let d = digits(number);
    let (year, month, day) = (pair(&d, 0), pair(&d, 2), pair(&d, 4));
    let century = [1900, 2000, 2100, 2200, 1800][(month / 20) as usize % 5];
    let sum = weighted(&d, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    is_day(century + year, month % 20, day) && (10 - sum % 10) % 10 == i32::from(d[10])
}

fn nl_bsn(number: &str) -> bool {
    let d = digits(number);
    weighted(&d, &[9, 8, 7, 6, 5, 4, 3, 2, -1]) % 11 == 0 && !all_alike(&d)
}

fn se_personnummer(number: &str) -> bool {
    let d = digits(number);
    let d = &d[d.len() - 10..];
    // Coordination numbers add sixty to the day.
    is_day(2000 + pair(d, 0), pair(d, 2), pair(d, 4) % 60) && luhn(d)
}

fn fi_hetu(code: &str) -> bool {
    const CHECKS: &[u8] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let d = digits(&format!("{}{}", &code[..6], &code[7..10]));
    let number = d
        .iter()
        .fold(0usize, |sum, &digit| sum * 10 + usize::from(digit));
    is_day(2000 + pair(&d, 4), pair(&d, 2), pair(&d, 0))
        && CHECKS[number % 31] == code.as_bytes()[10]
}

fn in_aadhaar(number: &str) -> bool {
    let d = digits(number);
    verhoeff(&d) && !all_alike(&d)
}

fn au_tfn(number: &str) -> bool {
    let d = digits(number);
    weighted(&d, &[1, 4, 3, 7, 5, 8, 6, 9, 10]) % 11 == 0 && !all_alike(&d)
}

fn au_medicare(number: &str) -> bool {
    let d = digits(number);
    weighted(&d, &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == i32::from(d[8])
}

/// ISO 7064 mod 11-2 (GB 11643).
fn cn_resident_id(number: &str) -> bool {
    let d = digits(&number[..17]);
    let year = pair(&d, 6) * 100 + pair(&d, 8);
    let sum = weighted(&d, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    let check = b"10X98765432"[(sum % 11) as usize];
    (1850..2100).contains(&year)
        && is_day(year, pair(&d, 10), pair(&d, 12))
        && number.as_bytes()[17].to_ascii_uppercase() == check
}

/// Numbers given since October 2020 have no check digit; the day of birth is all there is to check.
fn kr_rrn(number: &str) -> bool {
    let d = digits(number);
    is_day(2000 + pair(&d, 0), pair(&d, 2), pair(&d, 4))
}

fn br_cpf(number: &str) -> bool {
    let d = digits(number);
    let check = |sum: i32| sum * 10 % 11 % 10;
    let first = check(weighted(&d[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]));
    let second = check(weighted(&d[..10], &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]));
    first == i32::from(d[9]) && second == i32::from(d[10]) && !all_alike(&d)
}

/// The check digit of EAN-13.
fn ch_ahv(number: &str) -> bool {
    let d = digits(number);
    weighted(&d, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]) % 10 == 0
}

fn ru_snils(number: &str) -> bool {
    let d = digits(number);
    let sum = weighted(&d[..9], &[9, 8, 7, 6, 5, 4, 3, 2, 1]) % 101 % 100;
    sum == pair(&d, 9) as i32 && !all_alike(&d)
}

fn ru_inn(number: &str) -> bool {
    let d = digits(number);
    let tenth = weighted(&d[..10], &[7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10;
    let last = weighted(&d[..11], &[3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10;
    tenth == i32::from(d[10]) && last == i32::from(d[11]) && !all_alike(&d)
}

/// The value of a character is its place among digits and letters; `Ñ` stands between `N` and `O`.
fn mx_curp(code: &str) -> bool {
    let value = |c: u8| match c {
        b'0'..=b'9' => u32::from(c - b'0'),
        b'A'..=b'N' => u32::from(c - b'A') + 10,
        _ => u32::from(c - b'A') + 11,
    };
    let bytes = code.as_bytes();
    let weights = (2..=18).rev();
    let sum: u32 = bytes[..17]
        .iter()
        .zip(weights)
        .map(|(&c, weight)| value(c) * weight)
        .sum();
    let d = digits(&code[4..10]);
    (10 - sum % 10) % 10 == u32::from(bytes[17] - b'0')
        && is_day(2000 + pair(&d, 0), pair(&d, 2), pair(&d, 4))
}

fn mx_rfc(code: &str) -> bool {
    let d = digits(&code[4..10]);
    is_day(2000 + pair(&d, 0), pair(&d, 2), pair(&d, 4))
}

fn sg_nric(code: &str) -> bool {
    let d = digits(&code[1..8]);
    let sum = weighted(&d, &[2, 7, 6, 5, 4, 3, 2]);
    let (more, checks) = match code.as_bytes()[0] {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        _ => (3, b"KLJNPQRTUWX"),
    };
    let rest = ((sum + more) % 11) as usize;
    let rest = if code.starts_with('M') {
        10 - rest
    } else {
        rest
    };
    checks[rest] == code.as_bytes()[8]
}

/// One letter counts as a blank and that letter.
fn hk_hkid(code: &str) -> bool {
    let plain: Vec<u8> = code.bytes().filter(u8::is_ascii_alphanumeric).collect();
    let value = |c: u8| match c {
        b'0'..=b'9' => i32::from(c - b'0'),
        _ => i32::from(c - b'A') + 10,
    };
    let blank = if plain.len() == 8 { 36 * 9 } else { 0 };
    let weights = (1..=9).rev().skip(9 - plain.len());
    let sum: i32 = plain
        .iter()
        .zip(weights)
        .map(|(&c, weight)| value(c) * weight)
        .sum();
    (sum + blank) % 11 == 0
}

fn jp_my_number(number: &str) -> bool {
    let d = digits(number);
    let rest = weighted(&d[..11], &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    let check = if rest <= 1 { 0 } else { 11 - rest };
    check == i32::from(d[11]) && !all_alike(&d)
}

fn cl_rut(number: &str) -> bool {
    let Some((body, check)) = number.rsplit_once('-') else {
        return false;
    };
    let d = digits(body);
    let sum: u32 = d
        .iter()
        .rev()
        .zip((2..=7).cycle())
        .map(|(&digit, weight)| u32::from(digit) * weight)
        .sum();
    let expected = match 11 - sum % 11 {
        11 => "0".to_owned(),
        10 => "K".to_owned(),
        digit => digit.to_string(),
    };
    check.to_ascii_uppercase() == expected
}

fn ro_cnp(number: &str) -> bool {
    let d = digits(number);
    let rest = weighted(&d[..12], &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
    let check = if rest == 10 { 1 } else { rest };
    let county = pair(&d, 7);
    is_day(2000 + pair(&d, 1), pair(&d, 3), pair(&d, 5))
        && (1..=52).contains(&county)
        && check == i32::from(d[12])
}

fn ie_ppsn(code: &str) -> bool {
    let d = digits(&code[..7]);
    let second = code.as_bytes().get(8).map_or(0, |&c| {
        if c == b'W' {
            0
        } else {
            i32::from(c - b'A') + 1
        }
    });
    let rest = (weighted(&d, &[8, 7, 6, 5, 4, 3, 2]) + 9 * second) % 23;
    b"WABCDEFGHIJKLMNOPQRSTUV"[rest as usize] == code.as_bytes()[7]
}

fn tr_kimlik(number: &str) -> bool {
    let d = digits(number);
    let tenth = (weighted(&d, &[7, -1, 7, -1, 7, -1, 7, -1, 7])).rem_euclid(10);
    let sum: i32 = d[..10].iter().map(|&digit| i32::from(digit)).sum();
    tenth == i32::from(d[9]) && sum % 10 == i32::from(d[10])
}

/// The rest modulo 97; those born from 2000 on have a 2 before it.
fn be_niss(number: &str) -> bool {
    let d = digits(number);
    let body = d[..9]
        .iter()
        .fold(0u64, |sum, &digit| sum * 10 + u64::from(digit));
    let check = u64::from(pair(&d, 9));
    let right = [body, 2_000_000_000 + body]
        .iter()
        .any(|body| 97 - body % 97 == check);
    right && pair(&d, 2) <= 12 && pair(&d, 4) <= 31
}

/// Numbers given since 2007 have no check digit.
fn dk_cpr(number: &str) -> bool {
    let d = digits(number);
    is_day(2000 + pair(&d, 4), pair(&d, 2), pair(&d, 0))
}

fn no_fodselsnummer(number: &str) -> bool {
    let d = digits(number);
    let first = weighted(&d[..10], &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]) % 11 == 0;
    let second = weighted(&d, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]) % 11 == 0;
    // D-numbers add four to the first digit of the day.
    first && second && is_day(2000 + pair(&d, 4), pair(&d, 2) % 40, pair(&d, 0) % 40)
}

/// Months of women are 50 more; nine digits were given until 1953 and have no check digit.
fn cz_rc(number: &str) -> bool {
    let d = digits(number);
    let month = pair(&d, 2) % 50;
    let month = if month > 20 { month - 20 } else { month };
    let value = d
        .iter()
        .fold(0u64, |sum, &digit| sum * 10 + u64::from(digit));
    is_day(2000 + pair(&d, 0), month, pair(&d, 4))
        && (d.len() == 9 || value % 11 == 0 || value / 10 % 11 == 10 && d[9] == 0)
}

fn pt_nif(number: &str) -> bool {
    let d = digits(number);
    let rest = weighted(&d[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    let check = if rest < 2 { 0 } else { 11 - rest };
    check == i32::from(d[8]) && !all_alike(&d)
}

fn at_svnr(number: &str) -> bool {
    let d = digits(number);
    let sum = weighted(&d, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]) % 11;
    sum == i32::from(d[3]) && pair(&d, 4) <= 31 && pair(&d, 6) <= 13
}

fn gr_amka(number: &str) -> bool {
    let d = digits(number);
    luhn(&d) && is_day(2000 + pair(&d, 4), pair(&d, 2), pair(&d, 0))
}

fn bg_egn(number: &str) -> bool {
    let d = digits(number);
    let month = pair(&d, 2) % 20;
    let sum = weighted(&d[..9], &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10;
    sum == i32::from(d[9]) && is_day(2000 + pair(&d, 0), month, pair(&d, 4))
}

fn hr_oib(number: &str) -> bool {
    mod_11_10(&digits(number))
}

fn baltic_code(number: &str) -> bool {
    let d = digits(number);
    let first = weighted(&d[..10], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11;
    let second = weighted(&d[..10], &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10;
    let check = if first == 10 { second } else { first };
    check == i32::from(d[10]) && is_day(2000 + pair(&d, 1), pair(&d, 3), pair(&d, 5))
}

fn za_id(number: &str) -> bool {
    let d = digits(number);
    luhn(&d) && is_day(2000 + pair(&d, 0), pair(&d, 2), pair(&d, 4)) && d[10] <= 2
}

fn il_id(number: &str) -> bool {
    let d = digits(number);
    luhn(&d) && !all_alike(&d)
}

fn tw_id(code: &str) -> bool {
    const VALUES: &[u8] = b"ABCDEFGHJKLMNPQRSTUVXYWZIO";
    let Some(first) = VALUES.iter().position(|&c| c == code.as_bytes()[0]) else {
        return false;
    };
    let first = first as i32 + 10;
    let d = digits(&code[1..]);
    (first / 10 + first % 10 * 9 + weighted(&d, &[8, 7, 6, 5, 4, 3, 2, 1, 1])) % 10 == 0
}

fn th_id(number: &str) -> bool {
    let d = digits(number);
    let sum = weighted(&d[..12], &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
    (11 - sum % 11) % 10 == i32::from(d[12]) && !all_alike(&d) && d[0] != 0
}

fn ar_cuit(number: &str) -> bool {
    let d = digits(number);
    let rest = 11 - weighted(&d[..10], &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    let check = match rest {
        11 => 0,
        10 => 9,
        digit => digit,
    };
    check == i32::from(d[10])
}

fn ua_rnokpp(number: &str) -> bool {
    let d = digits(number);
    let sum = weighted(&d[..9], &[-1, 5, 7, 9, 4, 6, 10, 5, 7]).rem_euclid(11) % 10;
    sum == i32::from(d[9]) && !all_alike(&d)
}

fn kz_iin(number: &str) -> bool {
    let d = digits(number);
    let first = weighted(&d[..11], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]) % 11;
    let second = weighted(&d[..11], &[3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2]) % 11;
    let check = if first == 10 { second } else { first };
    check == i32::from(d[11]) && is_day(2000 + pair(&d, 0), pair(&d, 2), pair(&d, 4))
}

fn eg_id(number: &str) -> bool {
    let d = digits(number);
    let governorate = pair(&d, 7);
    is_day(2000 + pair(&d, 1), pair(&d, 3), pair(&d, 5))
        && (matches!(governorate, 1..=35) || governorate == 88)
}

fn ir_code(number: &str) -> bool {
    let d = digits(number);
    let rest = weighted(&d[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    let check = if rest < 2 { rest } else { 11 - rest };
    check == i32::from(d[9]) && !all_alike(&d)
}

fn my_kad(number: &str) -> bool {
    let d = digits(number);
    is_day(2000 + pair(&d, 0), pair(&d, 2), pair(&d, 4))
        && !matches!(pair(&d, 6), 0 | 17..=20 | 69 | 70 | 73 | 80 | 81 | 94..=97)
}

/// Women's days are forty more.
fn id_nik(number: &str) -> bool {
    let d = digits(number);
    is_day(2000 + pair(&d, 10), pair(&d, 8), pair(&d, 6) % 40)
}

fn ca_sin(number: &str) -> bool {
    let d = digits(number);
    luhn(&d) && !all_alike(&d)
}

fn pair(digits: &[u8], at: usize) -> u32 {
    u32::from(digits[at]) * 10 + u32::from(digits[at + 1])
}

fn all_alike(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What python-stdnum holds for valid is found beside its word, and what it refuses is not
    /// (`fixtures/scripts/national_numbers.py`).
    #[test]
    fn numbers_are_told_from_their_neighbours_as_python_stdnum_tells_them() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fixtures/golden/national_numbers.json"
        );
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let golden = golden.as_object().unwrap();
        for (label, numbers) in golden {
            let is_found = |number: &Value| {
                let text = format!(
                    "{}: {}",
                    numbers["beside"].as_str().unwrap(),
                    number.as_str().unwrap()
                );
                let text = View::new(hone_data::Place::Text, text);
                let mut seen = Vec::new();
                see(&text, &mut seen);
                seen.iter()
                    .any(|sighting| sighting.label == label && sighting.score(&text) >= 0.5)
            };
            for number in numbers["valid"].as_array().unwrap() {
                assert!(is_found(number), "{label} {number}");
            }
            // Korea gives no check digit any more, nor the United States, whose wrong numbers are of areas never given.
            let unchecked = ["KR_RRN", "DK_CPR", "PK_CNIC", "MY_KAD", "ID_NIK", "MX_RFC"];
            let wrong = numbers["wrong"].as_array().unwrap().iter();
            for number in wrong.filter(|_| !unchecked.contains(&label.as_str())) {
                assert!(!is_found(number), "{label} {number}");
            }
        }
        let beside_the_rule = [
            "US_NPI",
            "UK_NINO",
            "AU_MEDICARE",
            "RU_SNILS",
            "SG_NRIC",
            "HK_HKID",
            "TW_ID",
            "KZ_IIN",
            "EG_ID",
            "IR_CODE",
        ];
        let untested = SCHEMES.iter().find(|scheme| {
            !golden.contains_key(scheme.label) && !beside_the_rule.contains(&scheme.label)
        });
        assert!(untested.is_none(), "{}", untested.unwrap().label);
    }

    type Case = (fn(&str) -> bool, &'static str, &'static str);

    /// Numbers from the issuers' own documents or made to their rules, and the same with its last character moved on.
    #[test]
    fn valid_numbers_pass_and_their_neighbours_do_not() {
        let cases: [Case; 24] = [
            (us_npi, "1234567893", "1234567894"),
            (us_aba, "011000015", "011000016"),
            (uk_nhs, "943 476 5919", "943 476 5918"),
            (de_tax_id, "86095742719", "86095742718"),
            (fr_nir, "2 55 08 14 168 025 38", "2 55 08 14 168 025 39"),
            (es_nif, "12345678Z", "12345678A"),
            (es_nif, "X1234567L", "X1234567M"),
            (it_fiscal_code, "RSSMRA85T10A562S", "RSSMRA85T10A562T"),
            (pl_pesel, "44051401359", "44051401358"),
            (nl_bsn, "111222333", "111222334"),
            (se_personnummer, "811228-9874", "811228-9873"),
            (fi_hetu, "131052-308T", "131052-308U"),
            (au_tfn, "123 456 782", "123 456 783"),
            (cn_resident_id, "11010519491231002X", "110105194912310021"),
            (br_cpf, "529.982.247-25", "529.982.247-26"),
            (ru_snils, "112-233-445 95", "112-233-445 96"),
            (sg_nric, "S1234567D", "S1234567E"),
            (sg_nric, "T0000001E", "T0000001F"),
            (sg_nric, "F1234567N", "F1234567P"),
            (hk_hkid, "A123456(3", "A123456(4"),
            (hk_hkid, "AB987654(3", "AB987654(2"),
            (tw_id, "A123456789", "A123456788"),
            (ir_code, "0499370899", "0499370898"),
            (kz_iin, "850312300121", "850312300122"),
        ];
        for (is_valid, right, wrong) in cases {
            assert!(is_valid(right), "{right}");
            assert!(!is_valid(wrong), "{wrong}");
        }
        assert!(eg_id("28503120100017") && !eg_id("28513120100017"));
        assert!(au_medicare("2123 45670 1") && !au_medicare("2123 45680 1"));
        assert!(us_ssn("536-90-4399") && !us_ssn("666-90-4399") && !us_ssn("123-45-6789"));
    }
}
