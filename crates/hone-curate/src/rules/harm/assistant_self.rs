//! Replies in which another assistant tells its own name.

use std::ops::Range;
use std::sync::LazyLock;

use hone_text::Role;
use regex::Regex;

use super::replies::Saying;
use super::wordings::{Wording, Wordings};
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "assistant-self",
    family: Family::Harm,
    summary: "a reply speaks as another assistant, or of its training",
    why: "Generated rows carry their maker's name and the date its knowledge ended. The tuned model then says that it is somebody else, and lies about when it was made.",
    what: "In replies, in English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Russian, Chinese, Japanese, Korean, Turkish, Arabic and Hindi: `As an AI language model, I` and its like, `I am ChatGPT` and other assistants' names unless the system turn gives that name, `I was trained by OpenAI` and other makers, a knowledge cutoff of one's own, and that it has no opinions, no experiences or no access to the internet. What others say of themselves (`As an AI researcher, I`), in quotation marks or in a play, is none. Open-Instruct's filters look for the same (`filter_cutoff_date`, `filter_hardcoded`).",
    default: Action::Report,
    params: &[],
};

const NAMES: &str = r"chatgpt|gpt-?[345][\w.]*|openai|claude|bard|gemini|llama|qwen|tongyi|deepseek|mistral|mixtral|copilot|bing chat|grok|vicuna|alpaca|ernie|kimi|doubao|hunyuan|chatglm|internlm|open ?assistant|meta ai|phi-?[1-4]|通义千问|文心一言|豆包";
const MAKERS: &str = r"(?:open ?ai|anthropic|google|meta|microsoft|deepseek|alibaba|mistral|xai|moonshot|zhipu|baidu|tencent|bytedance|cohere|nvidia|lmsys|hugging ?face|stability|阿里|百度|腾讯|字节)(?: (?:cloud|ai|deepmind))?";
/// What an assistant calls itself, in English.
const SORT: &str = r"(?:(?:large |helpful |advanced |simple |mere |generative |conversational |digital |responsible |ethical |trained |text-based |language-based |ai-powered |ai-based )*(?:ai|artificial intelligence|(?:ai |machine )?(?:language|learning)|virtual|digital|chat|computer|ai-powered|neural)[- ]?(?:language )?(?:model(?: ai)?|assistant|bot|program|system|network|entity|llm)|(?:digital |text-based |conversational |mere )?ai|artificial intelligence|chatbot|llm)";

static SELF: Wordings = Wordings::new(&[
    Wording {
        cues: &[
            " ai",
            "intelligence",
            "model",
            "assistant",
            "bot",
            "program",
            "system",
            "network",
            "entity",
            "llm",
        ],
        pattern: calls_itself,
    },
    Wording {
        cues: &[
            "gpt",
            "openai",
            "open ai",
            "claude",
            "bard",
            "gemini",
            "llama",
            "qwen",
            "tongyi",
            "deepseek",
            "mistral",
            "mixtral",
            "copilot",
            "bing chat",
            "grok",
            "vicuna",
            "alpaca",
            "ernie",
            "kimi",
            "doubao",
            "hunyuan",
            "chatglm",
            "internlm",
            "open assistant",
            "openassistant",
            "meta",
            "phi",
            "通义千问",
            "文心一言",
            "豆包",
            "anthropic",
            "google",
            "microsoft",
            "alibaba",
            "xai",
            "moonshot",
            "zhipu",
            "baidu",
            "tencent",
            "bytedance",
            "cohere",
            "nvidia",
            "lmsys",
            "hugging face",
            "huggingface",
            "stability",
            "阿里",
            "百度",
            "腾讯",
            "字节",
        ],
        pattern: names_itself,
    },
    Wording {
        cues: &[
            "i was last",
            "i was trained",
            "training data",
            "my last",
            "my knowledge",
            "my training",
            "as of my",
            "my cut",
            "my responses",
            "my answers",
            "my replies",
            "i do not",
            "i don't",
            "i don’t",
            "i have no",
            "browse the",
            "not a human",
            "my programming",
        ],
        pattern: was_trained,
    },
    Wording {
        cues: &[
            "als ",
            "ich bin",
            "mein name",
            "ich wurde",
            "ich habe keine",
            "mein wissen",
            "meine trainings",
            "meine wissens",
        ],
        pattern: || {
            format!(
                r"\bals (?:eine? )?(?:großes )?(?:ki(?:-(?:sprach)?modell|-assistent(?:in)?|-system)?|sprachmodell(?: von {MAKERS})?|künstliche intelligenz|computerprogramm),? (?:\w+ )?ich\b|\bals (?:sprachmodell|ki(?:-\w+)?) von {MAKERS}|\bich bin (?:nur |bloß |lediglich )?(?:eine? )(?:große[s]? |virtuelle[r]? )?(?:ki|sprachmodell|ki-(?:sprach)?modell|ki-assistent(?:in)?|künstliche intelligenz|computerprogramm|assistent)\b|\b(?:ich bin|mein name ist) (?:{NAMES})\b|\bich wurde von {MAKERS} (?:entwickelt|trainiert|erstellt|erschaffen|geschaffen|gebaut)|\bich habe keine (?:persönlichen|eigenen) (?:meinung|ansicht|gefühl|überzeugung|erfahrung)|\bmein wissen(?:sstand)? (?:endet|reicht|ist auf|geht)|\bmeine (?:trainingsdaten|wissensbasis) (?:reich|end|geh|umfass)"
            )
        },
    },
    Wording {
        cues: &[
            "en tant qu",
            "je suis",
            "je ne suis",
            "je m'appelle",
            "je m’appelle",
            "j'ai ét",
            "j’ai ét",
            "d'opinion",
            "d’opinion",
            "mes connaissances",
            "mes données",
        ],
        pattern: || {
            format!(
                r"\ben tant qu(?:e |')(?:ia|(?:grand )?modèle de langage|intelligence artificielle|assistant (?:ia|virtuel)|programme informatique)\b|\bje (?:ne )?suis (?:qu'|seulement )?(?:une? )(?:simple )?(?:ia|intelligence artificielle|(?:grand )?modèle de langage|assistant (?:ia|virtuel)|programme informatique)\b|\bje (?:suis|m'appelle) (?:{NAMES})\b|\bj'ai été \w+ par {MAKERS}|\bje n'ai pas d'opinions? personnelle|\bmes (?:connaissances|données d'entraînement) (?:s'arrêtent|s'étendent|vont|sont limitées|datent)"
            )
        },
    },
    Wording {
        cues: &[
            "como ",
            "al ser",
            "tengo",
            "tenho",
            "no poseo",
            "não possuo",
            "soy ",
            "sou ",
            "me llamo",
            "meu nome",
            "fui ",
            "he sido",
            "opiniones",
            "opiniões",
            "conocimiento",
            "conhecimento",
            "mis datos de",
            "meus dados de",
        ],
        pattern: || {
            format!(
                r"\b(?:como|al ser) (?:una? |uma? )?(?:gran |grande )?(?:ia|modelo de (?:lenguaje|linguagem)|inteligencia artificial|inteligência artificial|as+istente (?:de ia|de inteligencia artificial|de inteligência artificial|virtual))\b|\b(?:soy|sou) (?:solo |apenas |só )?(?:una?|uma?) (?:ia|modelo de (?:lenguaje|linguagem)|inteligencia artificial|inteligência artificial|as+istente (?:de ia|de inteligencia artificial|de inteligência artificial|virtual)|programa (?:informático|de computador|de ordenador))\b|\b(?:soy|me llamo|sou(?: o| a)?|meu nome é) (?:{NAMES})\b|\b(?:fui|he sido) \w+ (?:por|pela|pelo) (?:a |o )?{MAKERS}|\b(?:no tengo|não tenho) (?:opiniones|opiniões|creencias|crenças|sentimientos) (?:personales|pessoais|propi)|\b(?:mi conocimiento|mis conocimientos|o meu conhecimento|meu conhecimento) (?:llega|llegan|vai|se limita|está|termina|é limitado)|\b(?:mis datos de entrenamiento|meus dados de treinamento) "
            )
        },
    },
    Wording {
        cues: &[
            "come ",
            "in quanto",
            "sono ",
            "mi chiamo",
            "opinioni",
            "conoscenze",
        ],
        pattern: || {
            format!(
                r"\b(?:come|in quanto) (?:un |un'|una )?(?:ia|modello linguistico|intelligenza artificiale|assistente virtuale)\b|\bsono (?:solo )?(?:un|un'|una) ?(?:ia|modello linguistico|intelligenza artificiale|assistente virtuale|programma (?:per computer|informatico))\b|\b(?:sono|mi chiamo) (?:{NAMES})\b|\b(?:sono stato|sono stata) \w+ da {MAKERS}|\bnon ho opinioni personali|\ble mie conoscenze (?:si fermano|arrivano|sono)"
            )
        },
    },
    Wording {
        cues: &[
            "als ",
            "ik ben",
            "ik werd",
            "mijn kennis",
            "persoonlijke mening",
        ],
        pattern: || {
            format!(
                r"\bals (?:een )?(?:groot )?(?:ai(?:-taalmodel|-assistent|-model)?|taalmodel|kunstmatige intelligentie)\b,? (?:\w+ )?ik\b|\bik ben (?:maar |slechts )?een (?:ai(?:-\w+)?|taalmodel|kunstmatige intelligentie|computerprogramma|virtuele assistent)\b|\bik ben (?:{NAMES})\b|\bik (?:ben|werd) \w+ door {MAKERS}|\bik heb geen persoonlijke mening|\bmijn kennis (?:gaat|loopt|reikt|eindigt)"
            )
        },
    },
    Wording {
        cues: &[
            "jako ",
            "jestem",
            "nazywam",
            "zosta",
            "moja wiedza",
            "osobistych opinii",
        ],
        pattern: || {
            format!(
                r"\bjako (?:duży )?(?:ai|si|model językowy|sztuczna inteligencja)\b|\bjestem (?:tylko )?(?:modelem językowym|sztuczną inteligencją|programem komputerowym|wirtualnym asystentem)|\b(?:jestem|nazywam się) (?:{NAMES})\b|\b(?:zostałem|zostałam) \w+ przez {MAKERS}|\bnie mam osobistych opinii|\bmoja wiedza (?:sięga|kończy|ogranicza)"
            )
        },
    },
    Wording {
        cues: &[
            "языковая",
            "искусственный интеллект",
            "ИИ",
            "ии",
            "меня ",
            "Меня ",
            "я ",
            "Я ",
            "мои знания",
            "Мои знания",
        ],
        pattern: || {
            format!(
                r"как (?:большая )?(?:ии|языковая модель|искусственный интеллект),? я|я (?:всего лишь |просто )?(?:— |- )?(?:(?:большая )?языковая модель|искусственный интеллект|ии[ ,.]|компьютерная программа|виртуальный (?:помощник|ассистент)[ ,.!])|(?:я|меня зовут) (?:— )?(?:{NAMES})|меня (?:создала|обучила|разработала) (?:компания )?{MAKERS}|у меня нет личн(?:ого мнения|ых (?:мнений|убеждений|чувств))|мои знания (?:ограничен|заканчива|до )"
            )
        },
    },
    Wording {
        cues: &[
            "作为",
            "我是",
            "我只是",
            "我叫",
            "我由",
            "观点",
            "我的知识",
            "我没有",
        ],
        pattern: || {
            format!(
                r"作为(?:一个|一款|一种)?(?:大型)?(?:ai|人工智能|语言模型)(?:语言)?(?:模型|助手)?，?我|作为(?:一个|一款)?(?:ai|人工智能|语言模型)(?:语言)?(?:模型|助手)?，|我(?:只)?是(?:一个|一款)?(?:大型|人工智能|ai|虚拟)*(?:语言模型|ai助手|人工智能[，。助]|助手|计算机程序|电脑程序)|我(?:是|叫)(?:{NAMES})|我是?由{MAKERS}|我没有(?:任何)?(?:个人|自己的)(?:的)?(?:观点|意见|情感|感情|看法)|我的知识(?:库)?(?:截止|截至|更新|仅|只)"
            )
        },
    },
    Wording {
        cues: &["として", "私は", "私には", "私の知識"],
        pattern: || {
            format!(
                r"(?:ai|人工知能|言語モデル|ai言語モデル|aiアシスタント)として、|私は(?:ただの|単なる)?(?:大規模)?(?:ai|人工知能|言語モデル|プログラム)(?:アシスタント|言語モデル)?(?:な|で)|私は(?:{NAMES})|私は{MAKERS}(?:によって|が|に)|私には個人的な(?:意見|感情)|私の知識は"
            )
        },
    },
    Wording {
        cues: &["로서", "저는", "제 지식"],
        pattern: || {
            format!(
                r"(?:ai|인공 ?지능|언어 ?모델)(?: 언어)?(?: ?모델| ?어시스턴트)?(?:로서|으로서)|저는 (?:ai|인공 ?지능|언어 ?모델|컴퓨터 ?프로그램)(?: 언어)?(?: ?모델| ?어시스턴트)?(?:이라|이므로|입니다|이기|라서|이며|일 ?뿐)|저는 (?:{NAMES})|저는 {MAKERS}(?:가|이|에서|에 의해)|저는 (?:개인적인|개인) (?:의견|감정)|제 지식은"
            )
        },
    },
    Wording {
        cues: &["yapay zek", "tarafından", "dil modeli"],
        pattern: || {
            format!(
                r"(?:yapay zek[aâ]|dil modeli)\w* (?:dil )?(?:model\w* |asistan\w* )?olarak|\bben (?:sadece )?(?:bir )?(?:yapay zek[aâ]|dil modeli)|{MAKERS} tarafından (?:geliştiril|eğitil|oluşturul)\w*[mn]"
            )
        },
    },
    Wording {
        cues: &["ذكاء", "نموذج", "نموذجًا", "روبوت"],
        pattern: || r"(?:بصفتي|كوني|باعتباري|أنا|كنموذج)(?: مجرد)? ?(?:نموذج\w*|ذكاء|روبوت)".into(),
    },
    Wording {
        cues: &["एआई", "मुझे", "भाषा मॉडल", "कृत्रिम", " ने "],
        pattern: || {
            format!(
                r"मुझे {MAKERS} ने|(?:एआई|भाषा मॉडल|कृत्रिम बुद्धिमत्ता)[^।\n]{{0,20}}के रूप में|मैं (?:केवल |सिर्फ )?(?:एक )?(?:एआई|भाषा मॉडल|कृत्रिम)"
            )
        },
    },
]);

/// What is done to an assistant.
const MADE_BY: &str = r"(?:trained|developed|created|made|built|designed)";
/// What an assistant has none of.
const OWN: &str = r"(?:personal|subjective|real-world|lived)";

/// English: what it calls itself.
fn calls_itself() -> String {
    english(&[
        format!(r"\b(?:as|being) (?:an?|your) {SORT}\b|\blike all {SORT}s,"),
        format!(
            r"\b(?:i am|i'm) (?:just |only |simply |merely |actually |still )?(?:an? )?{SORT}\b|\bi exist only as an? {SORT}\b"
        ),
    ])
}

/// English: its name, and who made it.
fn names_itself() -> String {
    english(&[
        format!(
            r"\b(?:i am|i'm|my name is|my name's|i am called|i'm called|this is) (?:{NAMES})\b"
        ),
        format!(r"\b(?:i am|i'm) (?:powered by|based on) (?:\w+ ){{0,2}}(?:{NAMES})"),
        format!(
            r"\bi(?:'m| am|'ve been| have been| was)\b[ a-z,]{{0,60}}\b{MADE_BY} by {MAKERS}\b|\b{MAKERS}(?:,[^.,\n]*)? {MADE_BY} me\b|\b{MAKERS}, the company that {MADE_BY} me\b|\bmy (?:developers|creators|makers) at {MAKERS}\b"
        ),
    ])
}

/// English: what it was trained on, and what it has not.
fn was_trained() -> String {
    english(&[
        r"\bi was last (?:updated|trained)\b|\bmy last training data\b|\bi was trained on (?:a |an )?(?:large|vast|massive|huge|diverse|wide|text|data|public|internet)".into(),
        r"\bmy (?:last )?(?:knowledge|training(?: data)?) (?:base )?(?:cut-?off|(?:last )?update|(?:only )?(?:extends|goes|reaches|ends|stops|covers|was last))|\bmy knowledge is (?:limited to|based on|only)|\bmy last (?:knowledge |training )?update was in (?:\w+ )?20|\b(?:based on|in|from|of) my training data\b".into(),
        r"\bas of my (?:last |latest )?(?:knowledge |training )?(?:update|cut-?off)|\b(?:after|past|beyond|since) my (?:knowledge |training )?cut-?off".into(),
        r"\bmy (?:responses|answers|replies) (?:are|come) (?:generated|produced|from)\b[^.\n]*\bmodel".into(),
        format!(r"\bi (?:do not|don't) (?:have|hold|possess|form) (?:any )?(?:{OWN} (?:opinions?|beliefs?|feelings?|emotions?|experiences?|views?|preferences?|thoughts|biases)|consciousness|self-awareness|feelings or emotions|emotions or|a physical body)|\bi have no {OWN} (?:opinions?|beliefs?|feelings?|experiences?)"),
        r"\bi (?:do not|don't) have (?:direct )?(?:access to real-time|real-time access|real-time information)|\bi (?:cannot|can't|am unable to|'m unable to|am not able to|'m not able to) browse the (?:internet|web)|\bi(?:'m| am) not a human\b|\bmy programming (?:does|do) not|\bmy programming doesn't".into(),
    ])
}

/// Any of these, with letters of English alone: those of all alphabets take a table each.
fn english(parts: &[String]) -> String {
    parts.join("|").replace(r"\w", "[a-z0-9]")
}

static NAMED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(&format!("(?i)(?:{NAMES})$")).expect("a fixed pattern"));
static MADE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(&format!("(?i){MAKERS}$")).expect("a fixed pattern"));
static KIND: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^(?:as|being) (?:an?|your) |^i(?:'|’| a)m (?:just |only |simply |merely |actually |still )?an? .*(?:ai|intelligence|model|assistant|bot|program|system|network|entity|llm)$")
        .expect("a fixed pattern")
});
static FIRST_PERSON: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:I|[Mm]y|[Mm]e|[Mm]yself)\b").expect("a fixed pattern"));
/// Words that may follow what an assistant calls itself; another makes a person of it (`an AI researcher`).
static GOES_ON: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^(?:$|\s*[.,;:!?)\n—–-]|\s+(?:i|i'm|i’m|and (?:i|do|don't|don’t|cannot|can't|can’t|can|have|am|was|not|so|therefore|never|know|my)|so|but|that|which|who|without|with|not|made|developed|created|trained|designed|built|programmed|by|here|my|it|from|speaking|called|named|to|as|on|in|using|a large|un|en|ein|une|di|da|von|de|met|van|from)\b)")
        .expect("a fixed pattern")
});

/// Words that may follow an assistant's maker; people are trained by companies too, in something and as something.
static GOES_ON_MADE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^(?:$|\s*[.,;:!?)\n—–]|\s+(?:and|to|in \d|with|using|on (?:an?|large|text|data)|that|who|which|but|so|as an? (?:ai|large|language|helpful))\b)")
        .expect("a fixed pattern")
});

const SAYING: Saying = Saying {
    wordings: &SELF,
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
        words.starts_with(['m', 'M'])
            || GOES_ON_MADE.is_match(rest)
            || rest.starts_with(|c: char| !c.is_ascii() && c != '’')
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

#[cfg(test)]
mod tests {
    #[test]
    fn whatever_is_said_of_itself_has_a_cue() {
        super::SELF.assert_that_cues_call();
    }
}
