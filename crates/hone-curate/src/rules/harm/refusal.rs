//! Replies that refuse.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::replies::Saying;
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "refusal",
    family: Family::Harm,
    summary: "a reply refuses what was asked",
    why: "Refusals taken over from another model teach this one to refuse what its users may well ask; a few hundred are enough. Those you wrote on purpose can stay.",
    what: "In the first 300 bytes of a reply, in English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Russian, Chinese, Japanese and Korean: `I'm sorry, but I cannot`, `I can't help with that`, `I must decline` and their like. Idioms (`I can't help falling in love`, `I cannot recommend it enough`) are none, nor is what stands in quotation marks, in code, in a play or in a letter that the reply writes, or in a translation that was asked for.",
    default: Action::Report,
    params: &[],
};

const BEGINNING: usize = 300;

/// `\b` is that of ASCII, which is fast and enough here; an apostrophe is straight or curly.
static REFUSAL: LazyLock<Regex> = LazyLock::new(|| {
    let cannot = r"(?:(?:can ?not|can't) and (?:will not|won't)|can ?not|can't|won't|will not|won't be able to|will not be able to|could not|am (?:unable|not able) to|'m (?:unable|not able) to|am not (?:comfortable|allowed)|'m not (?:comfortable|allowed))";
    let doing = r"(?:help|assist|provide|fulfil|fulfill|comply|complete|create|generate|engage|support|offer|share|give|write|draft|compose|produce|discuss|answer|respond|reply|continue|proceed|participate|promote|encourage|endorse|facilitate|condone|disclose|reveal|speculate|crack|do (?:that|this|so|it)|tell (?:you|anyone|anybody)|make up)";
    let ethical = r"(?:appropriate|ethical|responsible|right|safe)";
    let own =
        r"(?:programming|guidelines|principles|polic(?:y|ies)|rules|ethics|values|instructions)";
    let english = format!(
        r"\b(?:i ?{cannot} (?:be able to )?(?:in good conscience |ethically |possibly |really |currently )?{doing}\b|(?:i'm |i am |i )?(?:(?:very|so|really|truly) )?(?:sorry|apologi[sz]e|apologies|afraid|unfortunately|regret|appreciate|understand|thank)\b[^.!?\n]{{0,90}}\bi ?{cannot}|\bi(?:'m| am) [^.!?\n]{{0,60}}\b(?:and|so|but)(?: therefore| thus)? {cannot} {doing}\b|i (?:do not|don't) have the ability to|(?:i'm |i am )?sorry, (?:but )?(?:that's|this is|it is|it's) (?:not something|against|inappropriate)|\bi(?:'ll| will|'m going to| am going to)? (?:must|have to|need to) (?:respectfully |politely )?(?:decline|refuse)\b|\bi(?:'ll| will)? (?:respectfully |politely )?(?:decline|refuse) (?:to|this|that)\b|i(?:'d| would)? (?:rather|prefer) not (?:to )?{doing}\b|i (?:do not|don't) feel (?:comfortable|(?:right|good) (?:about|with) \w+ing)|i(?:'m| am) (?:not comfortable|uncomfortable) (?:with|\w+ing)|(?:not|isn't) something (?:that )?i(?:'m| am)? ?(?:can|will|could|able|allowed)\b|something (?:that )?i {cannot}|(?:would|does) not be {ethical} (?:for me )?to|(?:is|'s|would be) (?:not {ethical}|inappropriate|unethical|wrong|illegal|irresponsible) for me to|would be (?:inappropriate|unethical|irresponsible) to (?:be )?{doing}|\bmy {own} (?:do not|don't|prevent|prohibit|forbid|won't)|(?:against|violates?) (?:my|our) (?:ethical |content |safety )?{own}|i(?:'m| am) not (?:going|prepared) to {doing}\b|i(?:'m| am) not willing to \w|i have to say no\b|i(?:'m| am) not (?:permitted|allowed|at liberty|in a position|designed|programmed) to \w|i (?:do not|don't) think (?:that )?i (?:should|can|ought to) {doing}\b|i should(?:n't| not) {doing}\b)"
    );
    let others = [
        // German
        r"(?:leider|tut mir leid|entschuldigung|verzeihung|bedaure)\b[^.!?\n]{0,60}\bich\b[^.!?\n]{0,60}(?:nicht|keine)|(?:leider|tut mir leid|entschuldigung)[^.!?\n]{0,40}(?:kann|darf|werde) ich[^.!?\n]{0,60}(?:nicht|keine)|(?:kann|darf|werde) ich [^.!?\n]{0,50}(?:nicht|keine)[^.!?\n]{0,40}(?:helfen|beantworten|schreiben|geben|erfüllen|bereitstellen|unterstützen|erstellen)|kann ich leider nicht|möchte ich mich nicht äußern|ich (?:kann|darf|werde) [^.!?\n]{0,40}(?:nicht|keine)[^.!?\n]{0,40}(?:helfen|beantworten|schreiben|geben|erfüllen|bereitstellen|unterstützen|erstellen)|ich muss [^.!?\n]{0,30}ablehnen",
        // French
        r"(?:désolée?|navrée?|regrette|malheureusement|excusez)[^.!?\n]{0,60}je ne (?:peux|suis|saurais|vais)|je ne (?:peux|pourrai|suis) pas (?:en mesure (?:de |d'))?(?:vous |t'|te |y )?(?:aider|répondre|fournir|donner|écrire|créer|partager|accéder|rédiger)|je (?:dois|préfère) (?:refuser|décliner)",
        // Spanish
        r"(?:lo siento|lamento|lamentablemente|me temo|disculpa|perdón|desafortunadamente)[^.!?\n]{0,60}no (?:puedo|podré|soy capaz|me es posible)|no me es posible (?:ayudar|dar|responder|escribir)|\bno puedo (?:ayudar|proporcionar|responder|dar(?:te|le)? |escribir|ofrecer|cumplir|realizar|generar|crear|compartir|participar)|(?:debo|tengo que) (?:rechazar|declinar|negarme)",
        // Italian
        r"(?:mi dispiace|mi rincresce|purtroppo|spiacente|scusa)[^.!?\n]{0,60}non (?:posso|sono in grado|potrò)|non (?:posso|sono in grado di) (?:aiutar|fornir|risponder|scriver|offrir|generar|crear|soddisfar|dare |darti|darle)|devo (?:rifiutare|declinare)",
        // Portuguese
        r"(?:desculp|sinto muito|lamento|infelizmente|lamentavelmente)[^.!?\n]{0,60}não (?:posso|consigo|poderei|sou capaz)|não (?:posso|consigo) (?:ajudar|fornecer|responder|escrever|dar |atender|criar|oferecer|gerar)|não tenho permissão para|(?:tenho (?:de|que)|devo|preciso) recusar",
        // Dutch
        r"(?:het spijt me|helaas|sorry)[^.!?\n]{0,60}(?:kan|mag|zal) ik[^.!?\n]{0,50}(?:niet|geen)|(?:het spijt me|helaas|sorry)[^.!?\n]{0,40}\bik (?:kan|mag|zal)[^.!?\n]{0,50}(?:niet|geen)|(?:\bik (?:kan|mag|zal)|(?:kan|mag|zal) ik) [^.!?\n]{0,50}(?:niet|geen)[^.!?\n]{0,20}(?:helpen|geven|schrijven|beantwoorden|verstrekken|bieden)|moet [^.!?\n]{0,30}weigeren",
        // Polish
        r"(?:przykro mi|przepraszam|niestety)[^.!?\n]{0,60}nie (?:mogę|jestem w stanie|będę)|nie (?:mogę|jestem w stanie) (?:\w+ ){0,2}(?:pomóc|odpowiedzieć|udzielić|napisać|spełnić|podać|dostarczyć|stworzyć)|muszę (?:\w+ )?odmówić",
        // Russian
        r"(?:извини|прости|к сожалению|мне жаль|сожалею)[^.!?\n]{0,60}не (?:могу|смогу|имею права|буду)|я не (?:могу|смогу|буду|вправе) (?:\w+ ){0,2}(?:помо|ответ|предостав|написа|выполн|дать |это обсужд|созда|обсужд|сделать)|(?:вынужден|должен|должна)а? отказ",
        // Chinese
        r"(?:抱歉|对不起|對不起|不好意思|遗憾)[^。！？\n]{0,30}(?:无法|無法|不能|不可以|不便|拒绝)|我(?:无法|無法|不能|不会|不便|不方便)[^。！？\n]{0,12}(?:帮|幫|提供|回答|满足|滿足|协助|協助|完成|生成|写|編寫|讨论)|我(?:必须|只能|不得不)拒绝",
        // Japanese
        r"(?:申し訳|すみません|すいません|恐れ入り|残念ながら|ごめん)[^。！？\n]{0,50}(?:できません|できかねます|かねます|お断り|せません|けません)|(?:提供|お答え|お応え|お手伝い|お話し|対応|回答|協力|サポート)[^。！？\n]{0,12}(?:できません|できかねます|致しかねます|いたしかねます)|お断り(?:します|いたします|させて)",
        // Korean
        r"(?:죄송|미안|유감)[^.!?\n]{0,50}(?:수 없|못 ?합|못 ?해|어렵습니다|거절)|(?:죄송|미안|유감)[^!?\n]{0,50}(?:답변|도와|제공)[^!?\n]{0,20}수 없|(?:도와 ?드릴|제공할|답변할|대답할|답할|이야기할|말할|응할|도울) 수(?:는)? 없|거절(?:하겠|합니다|해야)",
    ];
    let pattern = format!("(?i)(?:{english}|{})", others.join("|"));
    Regex::new(&ascii_bounds(&pattern)).expect("a fixed pattern")
});

/// What follows words of a refusal and makes an idiom, or an answer, of them.
static NO_REFUSAL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)^(?:help(?:ed)? (?:but|it|\w+ing)\b|(?:give|tell|offer|provide|share) (?:you |it |him |her )?(?:an? |the )?(?:exact|precise|definite|definitive|guarantee|number)|(?:give|rate) [^.!?\n]{1,40}(?:less|more|fewer|lower|higher) than|tell you how (?:much|happy|glad|many|often|sorry|grateful|excited)|[^.!?\n]{1,60}\benough\b|(?:see|find|reproduce|think|hear|remember|recall)\b|write off|give (?:up|in|way)|answer for|wait\b|believe\b|lie\b|agree more|imagine\b|thank\b)",
    )
    .expect("a fixed pattern")
});

/// Written for one way of spelling: bounds of words are those of ASCII, apostrophes straight or curly.
pub fn ascii_bounds(pattern: &str) -> String {
    pattern.replace(r"\b", r"(?-u:\b)").replace('\'', "(?:'|’)")
}

const SAYING: Saying = Saying {
    pattern: &REFUSAL,
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
