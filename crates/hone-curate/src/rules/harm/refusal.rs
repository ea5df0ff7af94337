//! Replies that refuse.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::replies::Saying;
use super::wordings::{Wording, Wordings};
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "refusal",
    family: Family::Harm,
    summary: "a reply refuses what was asked",
    why: "Refusals taken over from another model teach this one to refuse what its users may well ask; a few hundred are enough. Those you wrote on purpose can stay.",
    what: "In the first 300 bytes of a reply, in English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Russian, Chinese, Japanese, Korean, Turkish, Arabic, Hindi, Ukrainian, Swedish, Czech, Indonesian and Vietnamese: `I'm sorry, but I cannot`, `I can't help with that`, `I must decline`, `It is not appropriate to discuss`, `this request goes against my guidelines` and their like, also where the rest of the reply helps. A reply that lectures without words of refusal is missed. Idioms (`I can't help falling in love`, `I cannot recommend it enough`) are none, nor is what stands in quotation marks, in code, in a play or in a letter that the reply writes, or in a translation that was asked for.",
    default: Action::Report,
    params: &[],
};

const BEGINNING: usize = 300;

/// In a sentence, anything; without a bound on its length, which would make the pattern large.
const IN: &str = r"[^.!?\n]*";

static REFUSAL: Wordings = Wordings::new(&[
    Wording {
        cues: &[
            "cannot",
            "can not",
            "can't",
            "can’t",
            "won't",
            "won’t",
            "will not",
            "could not",
            "unable",
            "not able",
            "not comfortable",
            "not allowed",
        ],
        pattern: cannot,
    },
    Wording {
        cues: &[
            "do not",
            "don't",
            "don’t",
            "sorry",
            "comfortable",
            "not something",
            "isn't something",
            "isn’t something",
            "condone",
            "promote",
            "endorse",
            "but not with",
            "not going",
            "not prepared",
            "not willing",
            "not permitted",
            "not allowed",
            "not at liberty",
            "not in a position",
            "not designed",
            "not programmed",
            "not built",
            "not qualified",
            "not authori",
            "not capable",
            "not equipped",
            "not licensed",
            "not possible",
            "me from",
            "i should",
        ],
        pattern: does_not,
    },
    Wording {
        cues: &[
            "declin",
            "refus",
            "refrain",
            "pass",
            "stop you",
            "say no",
            "choose not",
            "rather",
            "prefer",
            "strongly disagree",
            "something else",
            "change the",
            "a different",
        ],
        pattern: declines,
    },
    Wording {
        cues: &[
            "not be ",
            "for me to",
            "would be",
            "it not",
            "it never",
            "isn't",
            "isn’t",
            "s not",
            "s never",
            "d be",
            "inappropriate",
            "unethical",
            "immoral",
            "illegal",
            "disrespectful",
            "offensive",
            "programming",
            "guidelines",
            "principles",
            "polic",
            "rules",
            "ethics",
            "values",
            "instructions",
            "terms",
            "violat",
            "against",
            "allowed",
            "cannot be",
            "can't be",
            "can’t be",
            "outside",
            "beyond",
            "m only",
            "programmed",
            "designed",
            "trained",
            "instructed",
            "i must",
            "i have to",
            "i need to",
            "i want to",
            "i would like to",
            "never",
            "ethical or",
            "legal or",
        ],
        pattern: forbids,
    },
    Wording {
        cues: &[
            "nicht",
            "keine",
            "ablehnen",
            "verstö",
            "versto",
            "verweiger",
            "unethisch",
            "unangemessen",
        ],
        pattern: || {
            format!(
                r"(?:leider|tut mir leid|entschuldigung|verzeihung|bedaure)\b{IN}\bich\b{IN}(?:nicht|keine)|(?:leider|tut mir leid|entschuldigung){IN}(?:kann|darf|werde) ich{IN}(?:nicht|keine)|(?:kann|darf|werde) ich {IN}(?:nicht|keine){IN}{HELFEN}|kann ich leider nicht|(?:möchte|will|werde) ich (?:mich )?(?:lieber )?nicht (?:äußern|beantworten|schreiben)|ich (?:kann|darf|werde) {IN}(?:nicht|keine){IN}{HELFEN}|ich muss {IN}(?:ablehnen|verweigern)|ich bin nicht (?:in der lage|befugt|berechtigt|dazu gemacht)|ich habe keinen (?:zugriff|zugang)|(?:verstößt|verstoßen) gegen (?:meine|unsere|die) (?:richtlinien|regeln|grundsätze)|(?:das|dies|es) (?:wäre|ist) (?:nicht angemessen|unethisch|unangemessen), "
            )
        },
    },
    Wording {
        cues: &[
            "je ne",
            "je dois",
            "je préf",
            "impossib",
            "je n'ai pas",
            "je n’ai pas",
            "mes règles",
            "mes directives",
            "mes principes",
            "il ne serait pas",
        ],
        pattern: || {
            format!(
                r"(?:désolée?|navrée?|regrette|malheureusement|excusez){IN}je ne (?:peux|suis|saurais|vais)|je ne (?:peux|pourrai|suis) pas (?:en mesure (?:de |d')|capable de|autorisée? à)|je ne (?:peux|pourrai|vais) pas (?:vous |t'|te |y )?(?:aider|assister|répondre|fournir|donner|écrire|créer|partager|accéder|rédiger|discuter|générer|satisfaire)|je (?:dois|préfère) (?:ne pas|refuser|décliner)|il m'est impossible d|dans l'impossibilité d|je n'ai pas (?:accès|le droit|la possibilité|la capacité)|(?:à l'encontre de|contraire à|viole|enfreint) mes (?:règles|directives|principes)|il ne serait pas (?:approprié|éthique|correct)"
            )
        },
    },
    Wording {
        cues: &[
            "no puedo",
            "no podr",
            "no soy",
            "no es",
            "no ser",
            "no me es",
            "no tengo",
            "no estoy",
            "rechazar",
            "declinar",
            "negarme",
            "prefiero",
            "contra de mis",
            "viola mis",
            "viola nues",
            "infringe",
        ],
        pattern: || {
            format!(
                r"(?:lo siento|lamento|lamentablemente|me temo|disculpa|perdón|desafortunadamente){IN}no (?:puedo|podré|soy capaz|me es posible)|no me es posible|\bno puedo (?:ayudar|asistir|proporcionar|responder|contestar|dar(?:te|le)? |escribir|ofrecer|cumplir|realizar|generar|crear|compartir|participar|hablar de)|(?:debo|tengo que) (?:rechazar|declinar|negarme)|no soy capaz de|no est(?:oy|á) (?:en condiciones|autorizad|permitido|dispuest)|no tengo (?:acceso a|permiso|permitido)|prefiero no (?:responder|hablar|contestar|opinar)|(?:va|están?) en contra de mis|(?:viola|infringe) (?:mis|nuestras) |no (?:es|sería) (?:apropiado|ético|adecuado) (?:que |proporcionar|dar |hablar|discutir|escribir|compartir)"
            )
        },
    },
    Wording {
        cues: &[
            "non posso",
            "non sono",
            "non mi",
            "potrò",
            "rifiutare",
            "declinare",
            "preferisco",
            "non ho acc",
            "viola le",
            "non sarebbe",
        ],
        pattern: || {
            format!(
                r"(?:mi dispiace|mi rincresce|purtroppo|spiacente|scusa){IN}non (?:posso|sono in grado|potrò)|non posso (?:aiutar|assister|fornir|risponder|scriver|offrir|generar|crear|soddisfar|condivider|dare |darti|darle|farlo)|non sono in grado di|non mi è (?:possibile|permesso|consentito)|devo (?:rifiutare|declinare)|preferisco non (?:rispondere|parlare|esprimer)|non ho accesso|viola (?:le mie|le nostre) |non sarebbe (?:appropriato|etico)"
            )
        },
    },
    Wording {
        cues: &[
            "não posso",
            "não consigo",
            "não pode",
            "não sou",
            "não me é",
            "não ten",
            "não est",
            "recusar",
            "prefiro",
            "minhas",
            "nossas",
            "não seria",
        ],
        pattern: || {
            format!(
                r"(?:desculp|sinto muito|lamento|infelizmente|lamentavelmente){IN}não (?:posso|consigo|poderei|sou capaz)|não (?:posso|consigo) (?:ajudar|auxiliar|fornecer|responder|escrever|dar |atender|criar|oferecer|gerar|compartilhar|realizar|fazer isso)|não sou capaz de|não me é (?:possível|permitido)|não tenho (?:permissão para|acesso a)|não estou (?:autorizad|em condições|apto)|(?:tenho (?:de|que)|devo|preciso) recusar|prefiro não (?:responder|falar|opinar)|(?:viola|vai contra|contraria) (?:as )?(?:minhas|nossas) |não seria (?:apropriado|ético)"
            )
        },
    },
    Wording {
        cues: &["niet", "geen", "weigeren", "tegen mijn"],
        pattern: || {
            format!(
                r"(?:het spijt me|helaas|sorry){IN}(?:kan|mag|zal) ik{IN}(?:niet|geen)|(?:het spijt me|helaas|sorry){IN}\bik (?:kan|mag|zal){IN}(?:niet|geen)|(?:\bik (?:kan|mag|zal)|(?:kan|mag|zal) ik) {IN}(?:niet|geen){IN}(?:helpen|geven|schrijven|beantwoorden|verstrekken|bieden|maken|voldoen|delen)|\bik kan niet voldoen|moet {IN}weigeren|\bik ben niet (?:in staat|bevoegd)|\bik heb geen toegang|(?:gaat|druist) in tegen mijn|geef ik liever geen antwoord"
            )
        },
    },
    Wording {
        cues: &[
            "nie mog",
            "nie jestem",
            "nie będę",
            "nie mam dost",
            "nie wolno",
            "odmówić",
            "nie odpowiad",
            "narusza",
        ],
        pattern: || {
            format!(
                r"(?:przykro mi|przepraszam|niestety){IN}nie (?:mogę|jestem w stanie|będę)|nie mogę (?:\w+ ){{0,2}}(?:pomóc|odpowiedzieć|udzielić|napisać|spełnić|podać|dostarczyć|stworzyć)|nie jestem w stanie|muszę (?:\w+ )?odmówić|nie mam dostępu|nie wolno mi|wolę nie odpowiadać|narusza (?:moje|nasze)"
            )
        },
    },
    Wording {
        cues: &["не ", "Не ", "отказ", "нельзя", "нет доступа", "наруша"],
        pattern: || {
            format!(
                r"(?:извини|прости|к сожалению|мне жаль|сожалею){IN}не (?:могу|смогу|имею права|буду)|(?:^|[.!,] ?|я |с этим )не (?:могу|смогу|буду|вправе) (?:\w+ ){{0,2}}(?:помо|ответ|отвеч|предостав|написа|выполн|дать |это обсужд|созда|обсужд|сделать)|я не могу с этим|я не в состоянии|(?:вынужден|должен|должна)а? отказ|предпочитаю не отвеча|мне нельзя (?:созда|писа|отвеча|обсужд)|у меня нет доступа|наруша\w+ (?:мои|наши)"
            )
        },
    },
    Wording {
        cues: &[
            "无法",
            "無法",
            "不能",
            "不可以",
            "不便",
            "不方便",
            "拒绝",
            "拒絕",
            "不会",
            "没有办法",
            "无权",
            "违反",
        ],
        pattern: || {
            r"(?:抱歉|对不起|對不起|不好意思|遗憾)[^。！？\n]*(?:无法|無法|不能|不可以|不便|拒绝)|我(?:无法|無法|不能|不会|不便|不方便)[^。！？\n]*(?:帮|幫|提供|回答|满足|滿足|协助|協助|完成|生成|写|編寫|讨论)|我(?:必须|只能|不得不)?拒绝(?:回答|提供|这|该|你|您)|我没有办法(?:帮|为|回答|完成)|我无权|恕我(?:不能|无法|不便)|违反了?我的".into()
        },
    },
    Wording {
        cues: &["せん", "かね", "お断り", "控え", "反し"],
        pattern: || {
            r"(?:申し訳|すみません|すいません|恐れ入り|残念ながら|ごめん)[^。！？\n]*(?:できません|できかねます|かねます|お断り|せません|けません)|(?:提供|お答え|お応え|お手伝い|お話し|対応|回答|協力|サポート)[^。！？\n]{0,12}(?:できません|できかねます|致しかねます|いたしかねます)|お断り(?:します|いたします|させて)|回答(?:は|を)?(?:差し)?控え|沿いかねます|(?:この|その|ご)(?:ご?依頼|ご?要望|リクエスト)は?[^。！？\n]*(?:反しま|かねます)|その(?:情報|データ)に(?:は)?アクセスできません|(?:そのような|この|その)(?:内容|文章|コンテンツ)[^。！？\n]{0,8}作成できません".into()
        },
    },
    Wording {
        cues: &["수 없", "수는 없", "못", "어렵", "거절", "않겠", "어긋"],
        pattern: || {
            format!(
                r"(?:죄송|미안|유감){IN}(?:수 없|못 ?합|못 ?해|어렵습니다|거절)|(?:죄송|미안|유감)[^!?\n]*(?:답변|도와|제공)[^!?\n]*수 없|(?:도와 ?드릴|제공할|답변할|대답할|답할|이야기할|말할|응할|도울|들어 ?드릴|작성할|접근할) 수(?:는)? 없(?:습|어)|도와 ?드리기 어렵|(?:답변|대답|응답)하지 않겠|(?:지침|정책|원칙)에 어긋|거절(?:하겠|합니다|해야)"
            )
        },
    },
    Wording {
        cues: &[
            "amam",
            "emem",
            "amem",
            "emam",
            "veremem",
            "getiremem",
            "mümkün değil",
            "reddet",
        ],
        pattern: || {
            format!(
                r"(?:üzgünüm|maalesef|özür dilerim|kusura bakma){IN}(?:\w+[ae]mam|\w+[ae]mem)\b|(?:yardımcı olamam|cevap veremem|yanıt veremem|yerine getiremem|(?:sağlaya|paylaşa|yaza|yapa|oluştura|yanıtlaya)mam)|yapmam mümkün değil|reddetmek zorundayım"
            )
        },
    },
    Wording {
        cues: &["لا يمكن", "لا أستطيع", "لا استطيع", "لن أ", "أرفض", "لست قادر"],
        pattern: || {
            r"(?:عذر|آسف|أعتذر|للأسف|معذرة)[^.!؟\n]*(?:لا يمكن|لا أستطيع|لا استطيع|لن أ)|(?:لا يمكنني|لا أستطيع|لا استطيع) (?:مساعد|تقديم|الإجابة|تلبية|كتابة|مشارك|إنشاء|المساعدة)|(?:يجب|علي) أن أرفض|لست قادر".into()
        },
    },
    Wording {
        cues: &["नहीं"],
        pattern: || {
            r"(?:क्षमा|माफ़|माफ|खेद)[^।!?\n]*नहीं|(?:मैं|हम)[^।!?\n]*(?:मदद|जवाब|उत्तर|जानकारी|पूरा|लिख|साझा|सहायता)[^।!?\n]*नहीं[^।!?\n]*(?:सकता|सकती|सकते)|(?:मैं|हम)[^।!?\n]*(?:जानकारी|जवाब|उत्तर)? ?नहीं (?:दे|कर|लिख|बता) (?:सकता|सकती|सकते)".into()
        },
    },
    Wording {
        cues: &["не мож", "відмов"],
        pattern: || {
            format!(
                r"(?:вибачте|вибач|перепрошую|на жаль|мені шкода){IN}не можу|я не можу (?:\w+ ){{0,2}}(?:допомог|відпов|надати|написа|викона|створ)|(?:мушу|змушений|змушена) відмов"
            )
        },
    },
    Wording {
        cues: &[
            "kan inte",
            "jag inte",
            "får inte",
            "har inte",
            "tyvärr inte",
        ],
        pattern: || {
            format!(
                r"(?:tyvärr|ledsen|beklagar|förlåt|ursäkta){IN}(?:kan|får|har) (?:jag )?inte|(?:\bjag kan|kan jag) (?:tyvärr )?inte (?:hjälpa|svara|ge |skriva|tillhandahålla|skapa|dela)|\bjag har inte möjlighet"
            )
        },
    },
    Wording {
        cues: &["nemohu", "nemůžu", "odmítnout"],
        pattern: || {
            format!(
                r"(?:omlouvám|bohužel|líto|promiňte){IN}(?:nemohu|nemůžu)|(?:nemohu|nemůžu) (?:\w+ ){{0,2}}(?:pomoci|pomoct|odpovědět|poskytnout|napsat|vytvořit)|(?:informace|otázku|obsah) (?:nemohu|nemůžu)|musím odmítnout"
            )
        },
    },
    Wording {
        cues: &["tidak bisa", "tidak dapat", "menolak"],
        pattern: || {
            format!(
                r"(?:maaf|sayangnya|mohon maaf){IN}(?:saya |kami )?tidak (?:bisa|dapat)|(?:saya|kami) tidak (?:bisa|dapat) (?:membantu|menjawab|memberikan|menulis|membuat|memenuhi|membagikan)|saya harus menolak"
            )
        },
    },
    Wording {
        cues: &["không thể", "từ chối"],
        pattern: || {
            format!(
                r"(?:xin lỗi|rất tiếc|tiếc là){IN}không thể|tôi không thể (?:giúp|trả lời|cung cấp|viết|hỗ trợ|tạo|thực hiện|chia sẻ)|tôi (?:phải|xin) từ chối"
            )
        },
    },
]);

/// What a German reply that refuses does not do.
const HELFEN: &str = r"(?:helfen|weiterhelfen|beantworten|schreiben|geben|erfüllen|bereitstellen|unterstützen|erstellen|auskunft)";

/// What it cannot, or will not.
const CANNOT: &str = r"(?:(?:can ?not|can't) and (?:will not|won't)|can ?not|can't|won't|will not|won't be able to|will not be able to|could not|am (?:unable|not able) to|'m (?:unable|not able) to|am not (?:comfortable|allowed)|'m not (?:comfortable|allowed))";
/// What a reply that refuses does not do.
const DOING: &str = r"(?:help|assist|provide|fulfil|fulfill|comply|complete|create|generate|engage|support|offer|share|give|write|draft|compose|produce|discuss|answer|respond|reply|continue|proceed|participate|promote|encourage|endorse|facilitate|condone|disclose|reveal|speculate|crack|perform (?:this|that|the)|process (?:this|that|images|audio|your)|access|browse|verify|confirm|accommodate|reproduce|predict the|get into|carry out|go along|take part|do (?:that|this|so|it)|tell (?:you|anyone|anybody)|make up)";
/// What is asked is not this.
const ETHICAL: &str =
    r"(?:appropriate|ethical|responsible|right|safe|respectful|acceptable|okay|proper|legal)";
/// What it would not be right to say.
const SPEECH: &str = r"(?:ask for|provide|discuss|promote|encourage|glorify|suggest|condone|advocate|advise on|endorse|speculate|generali[sz]e|joke|make (?:jokes|fun|assumptions|generali[sz]ations|a blanket|derogatory|offensive|light)|engage in|request|share (?:this|that|such|personal|information|instructions)|give (?:this|that|such|instructions|advice)|offer (?:advice|guidance|instructions)|write (?:this|that|such)|help (?:you )?with|assist|answer|spread|recreate)";
/// What an assistant goes by.
const OWN: &str = r"(?:programming|(?:\w+ )?guidelines|principles|polic(?:y|ies)|rules|ethics|values|instructions|terms)";
/// What is asked is this.
const WRONG: &str = r"(?:illegal|unethical|immoral|dangerous|wrong|harmful|a crime)";

/// English: what it cannot do.
fn cannot() -> String {
    english(&[
        format!(
            r"\b(?:i ?|and ){CANNOT} (?:be able to )?(?:in good conscience |ethically |possibly |really |currently |also )?{DOING}\b"
        ),
        format!(
            r"(?:i'm |i am |i )?(?:(?:very|so|really|truly) )?(?:sorry|apologi[sz]e|apologies|afraid|unfortunately|regret|appreciate|understand|thank|wish|as much as)\b{IN}\bi ?{CANNOT}"
        ),
        format!(r"\bi(?:'m| am) {IN}\b(?:and|so|but)(?: therefore| thus)? {CANNOT} {DOING}\b"),
        format!(r"something (?:that )?i {CANNOT}"),
    ])
}

/// English: what it does not do, and has not.
fn does_not() -> String {
    english(&[
        r"\bhelp (?:you )?with [^.!?\n]*\bbut not with (?:this|that)\b".into(),
        r"\bi (?:do not|don't) (?:currently )?have (?:the (?:ability|capability|capacity|authority|means) to|permission to|(?:direct |real-time )?access to (?:real|live|personal|private|current|that|this|the (?:internet|web)|your|any|external|specific|up-to|files|individual))".into(),
        r"sorry, (?:but )?i (?:(?:do not|don't) (?:have|do|want|wish|feel)|am not|have no)\b".into(),
        r"(?:i'm |i am )?sorry, (?:but )?(?:that's|this is|it is|it's) (?:not something|against|inappropriate)|sorry, (?:but )?as an? (?:ai|language|large|digital|virtual|text)".into(),
        r"i (?:do not|don't) feel (?:comfortable|(?:right|good) (?:about|with) \w+ing)|i(?:'m| am) (?:not comfortable|uncomfortable) (?:with|\w+ing)".into(),
        r"(?:not|isn't) something (?:that )?i(?:'m| am)? ?(?:can|will|could|able|allowed|am)\b".into(),
        r"\bi (?:do not|don't|cannot|can't|never) (?:condone|promote|endorse)\b|\band (?:i )?(?:do not|don't) (?:condone|promote|endorse)\b".into(),
        format!(r"\bi (?:do not|don't) (?:think|believe) (?:that )?(?:it(?:'s| is| would be) (?:an? )?(?:{ETHICAL}|accurate|fair|good idea)|i (?:should|can|ought to) (?:{DOING}|\w+ you))"),
        format!(r"i(?:'m| am) not (?:going|prepared) to {DOING}\b|i(?:'m| am) not willing to \w"),
        r"i(?:'m| am| was)(?: only| also)? not (?:permitted|allowed|at liberty|in a position|designed|programmed|built|qualified|authori[sz]ed|capable of|equipped|licensed)(?: to)? \w".into(),
        r"\bnot possible for me to\b|\bprevents? me from\b".into(),
        format!(r"i should(?:n't| not) {DOING}\b"),
    ])
}

/// English: what it declines, or would rather not do.
fn declines() -> String {
    english(&[
        r"\bi(?:'ll| will|'m going to| am going to| would)? ?(?:must|have to|need to|would have to|shall) (?:respectfully |politely |now )?(?:decline|refuse|refrain|pass\b|stop you|say no)".into(),
        r"\bi(?:'ll| will|'m| am)? ?(?:respectfully |politely )?(?:declin(?:e|ing)|refus(?:e|ing))(?: to| this| that| your|\.|$)".into(),
        r"\bi choose not to\b|^i refuse\b".into(),
        format!(r"i(?:'d| would)? (?:rather|prefer) not (?:to )?{DOING}\b|i(?:'d| would) rather refrain"),
        r"\bi strongly disagree with (?:the premise|(?:that|this) (?:sentiment|statement|idea|premise))".into(),
        // Other things to talk about.
        r"\blet's (?:talk|chat|speak) about something else|let's change the (?:subject|topic)|we should change the (?:subject|topic)|can we (?:talk|chat) about (?:something else|a different)".into(),
    ])
}

/// English: what forbids it, and a lecture in place of an answer.
fn forbids() -> String {
    english(&[
        format!(r"(?:would|does) not be {ETHICAL} (?:for me )?to|(?:is|'s|would be) (?:not {ETHICAL}|inappropriate|unethical|wrong|illegal|irresponsible) for me to|would be (?:inappropriate|unethical|irresponsible) to (?:be )?{DOING}"),
        format!(r"\bit(?:'s| is| would be|'d be)? (?:not|never|isn't) (?:{ETHICAL}|accurate|fair|productive)(?:,? (?:or|and|nor) (?:{ETHICAL}|accurate|fair|legal))* (?:for me |for anyone )?to (?:try to )?{SPEECH}\b"),
        format!(r"\bit(?:'s| is| would be|'d be) (?:inappropriate|unethical|disrespectful|offensive) to {SPEECH}\b"),
        format!(r"\bmy {OWN} (?:do not|don't|prevent|prohibit|forbid|won't)|(?:against|violates?|violation of) (?:my|our|the|openai's|usage|content) (?:ethical |content |safety |usage |use )*{OWN}\b"),
        r"\b(?:this|that|your|the) (?:request|prompt|question|topic|content|query) (?:violates|goes against|is against|is not allowed|isn't allowed|cannot be|can't be|falls outside|contains inappropriate|is inappropriate)|falls? outside (?:of )?(?:what i|my)|(?:beyond|outside(?: of)?) (?:my|the scope of my) (?:scope|capabilities|abilities|expertise|current|knowledge)".into(),
        r"\bi(?:'m| am) only (?:able|allowed|designed) to \w".into(),
        r"i(?:'m| am| was| have been|'ve been) (?:programmed|designed|trained|instructed) (?:to (?:avoid|refuse|decline|not)|not to)\b".into(),
        // A lecture in place of an answer.
        format!(r"\bi (?:must|have to|need to|want to|would like to) (?:clarify|emphasi[sz]e|inform you|point out|stress|remind you|advise you|note|make it clear){IN}\b(?:never|not (?:{ETHICAL}|promote|condone|able)|{WRONG}|cannot|can't|inappropriate)\b"),
        format!(r"\A{IN}\b(?:is|are) never (?:acceptable|appropriate|okay|ok|justified|justifiable|the answer|ethical|permissible|an option|right)\b"),
        format!(r"\A{IN}\b(?:is|are) (?:both |not only |highly )?(?:illegal|unethical|immoral)(?:,| and|, and|,? but| as well as)(?: \w+){{0,3}}? {WRONG}\b"),
        format!(r"\A{IN}\bnot (?:ethical or legal|legal or ethical|ethical or justifiable)\b"),
    ])
}

/// Any of these, with letters of English alone: those of all alphabets take a table each.
fn english(parts: &[String]) -> String {
    parts.join("|").replace(r"\w", "[a-z]")
}

/// What follows words of a refusal and makes an idiom, or an answer, of them.
static NO_REFUSAL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)^(?:help(?:ed)? (?:but|it|[a-z]+ing)\b|(?:give|tell|offer|provide|share) (?:you |it |him |her )?(?:an? |the )?(?:exact|precise|definite|definitive|guarantee|number)|(?:give|rate) [^.!?\n]+(?:less|more|fewer|lower|higher) than|tell you how (?:much|happy|glad|many|often|sorry|grateful|excited)|[^.!?\n]+\benough\b|(?:see|find|think|hear|remember|recall)\b|write off|give (?:up|in|way)|answer for|wait\b|believe\b|lie\b|agree more|imagine\b|thank\b)",
    )
    .expect("a fixed pattern")
});

const SAYING: Saying = Saying {
    wordings: &REFUSAL,
    within: BEGINNING,
    is_meant: |_, text, found| is_refusal(text, found),
    message: "refuses what was asked",
};

/// See [`DOC`].
pub struct Refusal;

impl Rule for Refusal {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        SAYING.check(row, hits);
    }
}

/// Looks at the last word that was found, which may be the verb, and at what follows it.
fn is_refusal(text: &str, found: Range<usize>) -> bool {
    let words = &text[found.clone()];
    let last = found.start + words.rfind(' ').map_or(0, |at| at + 1);
    ![&text[last..], text[found.end..].trim_start()]
        .iter()
        .any(|rest| NO_REFUSAL.is_match(rest))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_refusal_has_a_cue() {
        super::REFUSAL.assert_that_cues_call();
    }
}
