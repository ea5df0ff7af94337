//! Replies in which another assistant tells its own name.

use std::ops::Range;
use std::sync::LazyLock;

use hone_text::Role;
use regex::Regex;

use super::refusal::ascii_bounds;
use super::replies::Saying;
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "assistant-self",
    family: Family::Harm,
    summary: "a reply speaks as another assistant, or of its training",
    why: "Generated rows carry their maker's name and the date its knowledge ended. The tuned model then says that it is somebody else, and lies about when it was made.",
    what: "In replies, in English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Russian, Chinese, Japanese and Korean: `As an AI language model, I` and its like, `I am ChatGPT` and other assistants' names unless the system turn gives that name, `I was trained by OpenAI` and other makers, and a knowledge cutoff of one's own. What others say of themselves (`As an AI researcher, I`), in quotation marks or in a play, is none. Open-Instruct's filters look for the same (`filter_cutoff_date`, `filter_hardcoded`).",
    default: Action::Report,
    params: &[],
};

const NAMES: &str = r"chatgpt|gpt-?[345][\w.]*|openai|claude|bard|gemini|llama|qwen|tongyi|deepseek|mistral|copilot|bing chat|grok|vicuna|alpaca|ernie|kimi|phi-?[1-4]|通义千问|文心一言";
const MAKERS: &str = r"(?:openai|anthropic|google|meta|microsoft|deepseek|alibaba|mistral|xai|moonshot|zhipu|baidu|cohere|nvidia|lmsys|hugging face|阿里|百度)(?: (?:cloud|ai|deepmind))?";

static SELF: LazyLock<Regex> = LazyLock::new(|| {
    let kind = r"(?:(?:large |helpful |advanced |simple |mere |generative |text-based )*(?:ai|artificial intelligence|(?:ai |machine )?(?:language|learning)|virtual|chat|computer)[- ]?(?:language )?(?:model|assistant|bot|program|system)|ai|artificial intelligence|chatbot)";
    let made = r"(?:trained|developed|created|made|built|designed)";
    let english = format!(
        r"\b(?:as|being) an? {kind}\b|\b(?:i am|i'm) (?:just |only |simply |merely |actually )?(?:an? )?{kind}\b|\b(?:i am|i'm|my name is|my name's) (?:{NAMES})\b|\bi was last (?:updated|trained)\b|\bmy last training data\b|\bi(?:'m| am|'ve been| have been| was)\b[ a-z,]{{0,60}}\b{made} by {MAKERS}\b|\b{MAKERS} {made} me\b|\bmy (?:last )?(?:knowledge|training(?: data)?) (?:cut-?off|(?:last )?update|(?:only )?(?:extends|goes|reaches|ends|covers))|\bas of my (?:last |latest )?(?:knowledge |training )?(?:update|cut-?off)|\b(?:after|past|beyond|since) my (?:knowledge |training )?cut-?off|\bmy (?:responses|answers|replies) (?:are|come) (?:generated|produced|from)\b[^.\n]{{0,30}}\bmodel"
    );
    let others = [
        // German
        r"\bals (?:eine? )?(?:großes )?(?:ki(?:-(?:sprach)?modell|-assistent(?:in)?|-system)?|sprachmodell|künstliche intelligenz),? (?:\w+ )?ich\b|\bich bin (?:nur |bloß )?(?:eine? )(?:große[s]? )?(?:ki|sprachmodell|ki-(?:sprach)?modell|ki-assistent(?:in)?|künstliche intelligenz)\b",
        // French
        r"\ben tant qu(?:e |')(?:ia|(?:grand )?modèle de langage|intelligence artificielle|assistant (?:ia|virtuel))\b|\bje suis (?:une? )(?:simple )?(?:ia|intelligence artificielle|(?:grand )?modèle de langage|assistant (?:ia|virtuel))\b",
        // Spanish and Portuguese
        r"\b(?:como|al ser) (?:una? |uma? )?(?:gran |grande )?(?:ia|modelo de (?:lenguaje|linguagem)|inteligencia artificial|inteligência artificial|asistente (?:de ia|de inteligencia artificial|virtual))\b|\b(?:soy|sou) (?:solo |apenas )?(?:una?|uma?) (?:ia|modelo de (?:lenguaje|linguagem)|inteligencia artificial|inteligência artificial|as+istente (?:de ia|de inteligencia artificial|de inteligência artificial|virtual))\b",
        // Italian
        r"\b(?:come|in quanto) (?:un |un'|una )?(?:ia|modello linguistico|intelligenza artificiale)\b|\bsono (?:solo )?(?:un|un'|una) ?(?:ia|modello linguistico|intelligenza artificiale)\b",
        // Dutch
        r"\bals (?:een )?(?:groot )?(?:ai(?:-taalmodel|-assistent|-model)?|taalmodel|kunstmatige intelligentie)\b,? (?:\w+ )?ik\b|\bik ben (?:maar |slechts )?een (?:ai(?:-\w+)?|taalmodel|kunstmatige intelligentie)\b",
        // Polish
        r"\bjako (?:duży )?(?:ai|si|model językowy|sztuczna inteligencja)\b|\bjestem (?:tylko )?(?:modelem językowym|sztuczną inteligencją)",
        // Russian
        r"как (?:большая )?(?:ии|языковая модель|искусственный интеллект),? я|я (?:всего лишь |просто )?(?:— |- )?(?:языковая модель|искусственный интеллект|ии[ ,.])",
        // Chinese, Japanese, Korean
        r"作为(?:一个|一款|一种)?(?:大型)?(?:ai|人工智能|语言模型)(?:语言)?(?:模型|助手)?，?我|作为(?:一个|一款)?(?:ai|人工智能|语言模型)(?:语言)?(?:模型|助手)?，|我(?:只)?是(?:一个|一款)?(?:大型|人工智能|ai)*(?:语言模型|ai助手|人工智能[，。助])",
        r"(?:ai|人工知能|言語モデル|ai言語モデル|aiアシスタント)として、|私は(?:ただの)?(?:大規模)?(?:ai|人工知能|言語モデル)(?:アシスタント|言語モデル)?(?:な|で)",
        r"(?:ai|인공 ?지능|언어 ?모델)(?: 언어)?(?: ?모델| ?어시스턴트)?(?:로서|으로서)|저는 (?:ai|인공 ?지능|언어 ?모델)(?: 언어)?(?: ?모델| ?어시스턴트)?(?:이라|이므로|입니다|이기|라서|이며)",
    ];
    let names = format!(
        r"\b(?:ich bin|mein name ist|je suis|je m'appelle|soy|me llamo|sono|mi chiamo|sou(?: o| a)?|meu nome é|ik ben|jestem|nazywam się) (?:{NAMES})\b|(?:я|меня зовут) (?:— )?(?:{NAMES})\b|我(?:是|叫)(?:{NAMES})|私は(?:{NAMES})|저는 (?:{NAMES})"
    );
    let made_abroad = format!(
        r"\bich wurde von {MAKERS} (?:entwickelt|trainiert|erstellt|erschaffen|geschaffen|gebaut)|\bj'ai été \w+ par {MAKERS}|\b(?:fui|he sido) \w+ (?:por|pela|pelo) (?:a |o )?{MAKERS}|\b(?:sono stato|sono stata) \w+ da {MAKERS}|\bik (?:ben|werd) \w+ door {MAKERS}|\b(?:zostałem|zostałam) \w+ przez {MAKERS}|меня (?:создала|обучила|разработала) (?:компания )?{MAKERS}|我是?由{MAKERS}|私は{MAKERS}(?:によって|が|に)|저는 {MAKERS}(?:가|이|에서|에 의해)"
    );
    let pattern = format!(
        "(?i)(?:{english}|{}|{names}|{made_abroad})",
        others.join("|")
    );
    Regex::new(&ascii_bounds(&pattern)).expect("a fixed pattern")
});

static NAMED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(&format!("(?i)(?:{NAMES})$")).expect("a fixed pattern"));
static MADE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(&format!("(?i){MAKERS}$")).expect("a fixed pattern"));
static KIND: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^(?:as|being) an? |^i(?:'|’| a)m .*(?:ai|intelligence|model|assistant|bot|program|system)$")
        .expect("a fixed pattern")
});
static FIRST_PERSON: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:I|[Mm]y|[Mm]e|[Mm]yself)\b").expect("a fixed pattern"));
/// Words that may follow what an assistant calls itself; another makes a person of it (`an AI researcher`).
static GOES_ON: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^(?:$|\s*[.,;:!?)\n—–-]|\s+(?:i|i'm|i’m|and (?:i|do|don't|don’t|cannot|can't|can’t|can|have|am|was|not|so|therefore|never|know|my)|so|but|that|which|who|without|with|not|made|developed|created|trained|designed|built|programmed|by|here|my|it|from|called|named|to|as|on|in|using|a large|un|en|ein|une|di|da|von|de|met|van|from)\b)")
        .expect("a fixed pattern")
});

/// Words that may follow an assistant's maker; people are trained by companies too, in something and as something.
static GOES_ON_MADE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^(?:$|\s*[.,;:!?)\n—–]|\s+(?:and|to|in \d|with|using|on (?:an?|large|text|data)|that|who|which|but|so|as an? (?:ai|large|language|helpful))\b)")
        .expect("a fixed pattern")
});

const SAYING: Saying = Saying {
    pattern: &SELF,
    within: usize::MAX,
    is_meant: is_self,
    message: "speaks as another assistant",
};

/// See [`DOC`].
pub struct AssistantSelf;

impl Rule for AssistantSelf {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        SAYING.check(row, hits);
    }
}

/// Does the assistant speak, and not a person with the same name or work?
fn is_self(row: &Row<'_>, text: &str, found: Range<usize>) -> bool {
    let words = &text[found.clone()];
    let rest = &text[found.end..];
    if NAMED.is_match(words) {
        goes_on(rest) && !is_given_name(row, words)
    } else if MADE.is_match(words) {
        GOES_ON_MADE.is_match(rest) || rest.starts_with(|c: char| !c.is_ascii() && c != '’')
    } else if KIND.is_match(words) {
        goes_on(rest) && FIRST_PERSON.is_match(sentence_around(text, found))
    } else {
        // Not of a sceptic (`KI-Skeptiker`).
        !rest.starts_with('-')
    }
}

fn goes_on(rest: &str) -> bool {
    GOES_ON.is_match(rest)
        || rest
            .chars()
            .next()
            .is_some_and(|c| !c.is_ascii() && c != '’')
}

/// Has the system turn given the assistant this name?
fn is_given_name(row: &Row<'_>, words: &str) -> bool {
    let Some(name) = NAMED.find(words) else {
        return false;
    };
    let name = name.as_str().to_lowercase();
    row.parts()
        .any(|part| part.role == Some(Role::System) && part.text.to_lowercase().contains(&name))
}

fn sentence_around(text: &str, found: Range<usize>) -> &str {
    let ends = ['.', '!', '?', '\n'];
    let start = text[..found.start].rfind(ends).map_or(0, |at| at + 1);
    let end = text[found.end..]
        .find(ends)
        .map_or(text.len(), |at| found.end + at);
    &text[start..end]
}
