//! A Modelfile for Ollama: where the model is, how a conversation is written, where a reply ends.
//!
//! Ollama has templates in Go's language, and a model that is asked in another form than it was trained in answers
//! badly and says nothing. So the pieces are cut out of what our own renderer writes, put together again as a template, and
//! that template is run as Ollama runs it and compared with the renderer. What Ollama does not do with a conversation is
//! said, and a template that has no equal there is refused.

mod go_template;

use crate::base::OpenBase;
use crate::refusal::Refusal;
use anyhow::Result;
use go_template::{GoTemplate, Message};
use hone_ledger::words::{self, is_unruly};
use hone_text::{Conversation, Renderer, Role, TOOL_USE, Turn};

/// A Modelfile, and what is to be known about it.
pub struct Modelfile {
    /// What stands in the file.
    pub text: String,
    /// What Ollama will not do, or does otherwise, in sentences.
    pub notices: Vec<String>,
}

/// The Modelfile of a model, or of an adapter beside `from`.
///
/// # Errors
/// A chat template that has no equal in Ollama, or words that a Modelfile cannot hold, with the reason.
pub fn modelfile(from: &str, adapter: Option<&str>, open: &OpenBase) -> Result<Modelfile> {
    let form = Form::of(&open.renderer)?;
    let mut lines = vec![format!(
        "FROM {}",
        on_one_line("the name of the base", from)?
    )];
    lines.extend(adapter.map(|adapter| format!("ADAPTER {adapter}")));
    lines.push(format!(
        "TEMPLATE {}",
        quoted("the chat template", &form.template)?
    ));
    if let Some(system) = &form.system {
        lines.push(format!("SYSTEM {}", quoted("the system message", system)?));
    }
    for id in open.renderer.stop_ids() {
        if let Some(stop) = open.renderer.tokenizer().token(*id) {
            lines.push(format!("PARAMETER stop {}", stop_words(&stop)?));
        }
    }
    Ok(Modelfile {
        text: lines.join("\n") + "\n",
        notices: form.notices,
    })
}

/// Three quotes are how a Modelfile holds lines. It knows no way to write three of them inside: what comes after would be
/// instructions of its own. Templates hold none, see [`literal`].
fn quoted(what: &str, text: &str) -> Result<String> {
    if text.contains("\"\"\"") || text.ends_with('"') || text.contains('\0') {
        return Err(unwritable(what, text));
    }
    Ok(format!("\"\"\"{text}\"\"\""))
}

/// A Modelfile takes the quotes off and reads nothing else into the words.
fn stop_words(stop: &str) -> Result<String> {
    match stop.contains(['"', '\n', '\r']) {
        true => quoted("an end token", stop),
        false => Ok(format!("\"{}\"", on_one_line("an end token", stop)?)),
    }
}

/// A word that ends with its line.
fn on_one_line<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    match text.contains(is_unruly) {
        true => Err(unwritable(what, text)),
        false => Ok(text),
    }
}

fn unwritable(what: &str, text: &str) -> anyhow::Error {
    let shown = words::quoted(text);
    Refusal::failed(format!(
        "{what} cannot be written in a Modelfile: `{shown}`"
    ))
    .hint("--to gguf writes the model without a Modelfile")
    .into()
}

/// Text as it is written in a template: braces and quotes that would mean something are put into strings of Go's.
fn literal(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::new();
    for (at, c) in chars.iter().enumerate() {
        let (before, after) = (at.checked_sub(1).map(|at| chars[at]), chars.get(at + 1));
        match c {
            '{' if after.is_none_or(|next| ['{', '"'].contains(next)) || before == Some('{') => {
                out += "{{ \"{\" }}"
            }
            // One quote stands for itself, but not beside the quotes around it all.
            '"' if after.is_none_or(|next| *next == '"')
                || before.is_none_or(|last| last == '"') =>
            {
                out += "{{ \"\\\"\" }}"
            }
            c => out.push(*c),
        }
    }
    out
}

/// How Ollama is told to write a conversation.
#[derive(Debug, PartialEq)]
struct Form {
    /// In Go's template language.
    template: String,
    /// The system message that is put where none is given.
    system: Option<String>,
    notices: Vec<String>,
}

// Words that no template contains, of which no tokenizer makes anything special.
const SYSTEM: &str = "Zsystemwords";
const ASKED: [&str; 3] = ["Zfirstquestion", "Zsecondquestion", "Zthirdquestion"];
const SAID: [&str; 2] = ["Zfirstreply", "Zsecondreply"];
const THOUGHT: &str = "Zfirstthought";

/// The thoughts of an earlier reply in Ollama's prompt, beside the chat template's.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Earlier {
    /// The same text.
    Same,
    /// Only in Ollama's.
    LeftOut,
    /// In both, and not alike.
    Otherwise,
}

/// What stands between the words of a conversation.
#[derive(Debug)]
struct Pieces {
    /// Before the first question where there is no system message.
    opening: String,
    /// Between a question and its reply, where the reply is given.
    ask: String,
    /// Between a reply and the next question.
    close: String,
    /// After the last question, up to where the model begins to write.
    prompt: String,
    system: System,
}

/// Where a system message stands, with what is before and after it up to the question's words.
#[derive(Debug, PartialEq)]
enum System {
    /// Before the first question.
    First(String, String),
    /// Before the last question, after what stands there without it.
    Last(String, String),
    /// The template refuses one, or passes over it.
    Nowhere,
}

impl Form {
    fn of(renderer: &Renderer) -> Result<Self> {
        let writer = Writer::new(renderer);
        let pieces = Pieces::cut(&writer)?;
        let candidates = [pieces.by_exchange(), Some(pieces.by_messages())];
        let mut why = None;
        for (template, system) in candidates.into_iter().flatten() {
            match writer.difference(&template, system.as_deref(), &pieces.system) {
                None => {
                    return Ok(Self {
                        notices: writer.notices(&pieces, &template, system.as_deref()),
                        template,
                        system,
                    });
                }
                Some(difference) => why = Some(difference),
            }
        }
        Err(refused(&why.unwrap_or_else(|| {
            "its turns do not follow one another in one form".into()
        })))
    }
}

/// The renderer, as far as Ollama has to do the same: BOS is put before a prompt by the runner.
struct Writer<'a> {
    renderer: &'a Renderer,
    bos: String,
}

impl<'a> Writer<'a> {
    fn new(renderer: &'a Renderer) -> Self {
        let tokenizer = renderer.tokenizer();
        let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
        Self {
            renderer,
            bos: bos.and_then(|id| tokenizer.token(id)).unwrap_or_default(),
        }
    }

    /// What a model is asked with for these turns.
    fn prompt(&self, turns: Vec<Turn>) -> Result<String> {
        let text = self.renderer.render(&Conversation::new(turns), true)?;
        Ok(text.strip_prefix(&self.bos).unwrap_or(&text).to_owned())
    }

    /// The first conversation that Ollama would write otherwise, in a sentence.
    fn difference(&self, template: &str, system: Option<&str>, place: &System) -> Option<String> {
        let parsed = match GoTemplate::parse(template) {
            Ok(parsed) => parsed,
            Err(why) => return Some(format!("it would be `{template}`, where {why}")),
        };
        // An empty system message is none to Ollama; words may hold what looks like Go's.
        for words in [None, Some(SYSTEM), Some("{{ .Prompt }}\n\"\"\""), Some("")] {
            if system.is_some() && words == Some("") {
                // A message that is there and empty is neither the default nor none.
                continue;
            }
            for questions in 1..=3 {
                let theirs = messages(words.or(system), questions);
                let given = words.filter(|words| !words.is_empty() && *place != System::Nowhere);
                let expected = match self.prompt(turns(given, questions)) {
                    Ok(expected) => expected,
                    Err(error) => return Some(error.to_string()),
                };
                let found = match parsed.prompt(&theirs) {
                    Ok(found) => found,
                    Err(why) => return Some(why),
                };
                if found != expected {
                    return Some(format!(
                        "with {} and {questions} question{}, Ollama would write {:?}, and the model was trained on {:?}",
                        match words {
                            None => "no system message",
                            Some("") => "an empty system message",
                            Some(_) => "a system message",
                        },
                        if questions == 1 { "" } else { "s" },
                        from_difference(&found, &expected),
                        from_difference(&expected, &found),
                    ));
                }
            }
        }
        None
    }

    fn notices(&self, pieces: &Pieces, template: &str, system: Option<&str>) -> Vec<String> {
        let mut notices = Vec::new();
        if pieces.system == System::Nowhere {
            notices.push(
                "the chat template has no place for a system message: Ollama leaves one out".into(),
            );
        }
        if self.renderer.template_source().contains("strftime_now") {
            notices.push(
                "the chat template writes the day's date: the one in the Modelfile stays, whatever day it is"
                    .into(),
            );
        }
        if self.renderer.tool_use_source().is_some() {
            notices.push(format!(
                "Ollama is not told of tools: a Modelfile has one template, and the model's `{TOOL_USE}` is left out"
            ));
        } else if self.shows_tools() {
            notices.push(
                "Ollama is not told of tools: the Modelfile's template has no part for them".into(),
            );
        }
        let (open, close) = self.tags();
        if self.opens_thoughts(&pieces.prompt) {
            notices.push(format!(
                "the prompt opens the model's thoughts: Ollama shows them as part of the answer, up to `{close}`"
            ));
        }
        let lead = self.lead();
        if !lead.is_empty() {
            notices.push(format!(
                "the model begins its replies with {lead:?}, and the chat template writes that itself before earlier ones: send \
                 earlier replies without it"
            ));
        }
        match self.earlier_thoughts(&pieces.prompt, template, system) {
            Earlier::Same => {}
            Earlier::LeftOut => notices.push(format!(
                "the chat template leaves the thoughts of earlier replies out, and Ollama's templates cannot: \
                 send earlier replies without what stands between `{open}` and `{close}`"
            )),
            Earlier::Otherwise => notices.push(format!(
                "the chat template writes the thoughts of earlier replies otherwise than the model writes them, and Ollama \
                 leaves them as they are: send earlier replies without what stands up to `{close}`"
            )),
        }
        let spaced = vec![Turn::new(Role::User, format!(" {} ", ASKED[0]))];
        if self
            .prompt(spaced)
            .is_ok_and(|text| !text.contains(&format!(" {} ", ASKED[0])))
        {
            notices.push(
                "the chat template takes away white space around a message, and Ollama leaves it there".into(),
            );
        }
        let starts_with_bos = || {
            let conversation = Conversation::new(turns(None, 1));
            let text = self.renderer.render(&conversation, true);
            text.is_ok_and(|text| text.starts_with(&self.bos))
        };
        if !self.bos.is_empty() && !starts_with_bos() {
            notices.push(format!(
                "Ollama puts {} before a prompt where the model's file says so, and the chat template does not",
                self.bos
            ));
        }
        notices
    }

    /// What opens and closes thoughts.
    fn tags(&self) -> (&'static str, &'static str) {
        let known = self.renderer.reasoning_tags();
        known.unwrap_or(("<think>", "</think>"))
    }

    fn opens_thoughts(&self, prompt: &str) -> bool {
        let (open, close) = self.tags();
        let opened = prompt.rsplit_once(open);
        opened.is_some_and(|(_, after)| !after.contains(close))
    }

    /// What becomes of the thoughts of a reply once the conversation has gone on. To Ollama they are part of what the
    /// model wrote; a template may be given them apart from the reply, or in front of it.
    fn earlier_thoughts(&self, prompt: &str, template: &str, system: Option<&str>) -> Earlier {
        let (open, close) = self.tags();
        let mut apart = Turn::new(Role::Assistant, SAID[0]);
        apart.reasoning = Some(THOUGHT.into());
        let in_front = format!("{open}\n{THOUGHT}\n{close}\n\n{}", SAID[0]);
        let in_front = Turn::new(Role::Assistant, in_front);
        let is_opened = self.opens_thoughts(prompt);
        let ways = match is_opened {
            // Whether the template reads them apart cannot be told from a last reply that it takes them out of.
            true => vec![in_front],
            false => vec![apart, in_front],
        };
        let found = ways.iter().filter_map(|reply| {
            let written = match is_opened {
                true => format!("{THOUGHT}\n{close}\n\n{}", SAID[0]),
                false => self.written(reply)?,
            };
            let [asked, again] = [0, 1].map(|at| Turn::new(Role::User, ASKED[at]));
            let trained = self.prompt(vec![asked.clone(), reply.clone(), again.clone()]);
            let sent = [asked, Turn::new(Role::Assistant, written), again];
            // Ollama puts its default system message in front.
            let default = system.map(|words| Turn::new(Role::System, words));
            let sent: Vec<Message> = default.into_iter().chain(sent).map(message).collect();
            let there = GoTemplate::parse(template).and_then(|template| template.prompt(&sent));
            let (trained, there) = (trained.ok()?, there.ok()?);
            Some(match trained == there {
                true => Earlier::Same,
                false if !trained.contains(THOUGHT) => Earlier::LeftOut,
                false => Earlier::Otherwise,
            })
        });
        let mut found = found.filter(|earlier| *earlier != Earlier::Same);
        found.next().unwrap_or(Earlier::Same)
    }

    /// What the model writes after its prompt to give this reply, up to its last word; nothing if it has no thoughts then.
    fn written(&self, reply: &Turn) -> Option<String> {
        let asked = Turn::new(Role::User, ASKED[0]);
        let conversation = Conversation::new(vec![asked.clone(), reply.clone()]);
        let whole = self.renderer.render(&conversation, false).ok()?;
        let whole = whole.strip_prefix(&self.bos).unwrap_or(&whole);
        let reply = whole.strip_prefix(&self.prompt(vec![asked]).ok()?)?;
        let end = reply.rfind(SAID[0])? + SAID[0].len();
        let reply = reply[..end].to_owned();
        let lead = self.lead();
        let reply = reply
            .strip_prefix(&lead)
            .map(str::to_owned)
            .unwrap_or(reply);
        Some(reply).filter(|reply| reply.contains(THOUGHT))
    }

    /// What the model writes before the first word of a reply, where its prompt does not end at that word: a blank, or the
    /// head of its turn.
    fn lead(&self) -> String {
        let asked = [Turn::new(Role::User, ASKED[0])];
        let talk = Conversation::new([asked[0].clone(), Turn::new(Role::Assistant, SAID[0])]);
        let (Ok(prompt), Ok(whole)) = (
            self.prompt(asked.to_vec()),
            self.renderer.render(&talk, false),
        ) else {
            return String::new();
        };
        let whole = whole.strip_prefix(&self.bos).unwrap_or(&whole);
        let reply = whole.strip_prefix(&prompt).unwrap_or_default();
        let lead = reply.split_once(SAID[0]).map(|(lead, _)| lead);
        // Thoughts have their own notice.
        let (open, close) = self.tags();
        let lead = lead.filter(|lead| !lead.contains(open) && !lead.contains(close));
        lead.unwrap_or_default().to_owned()
    }

    /// Whether the template says anything of tools.
    fn shows_tools(&self) -> bool {
        let plain = Conversation::new(turns(None, 1));
        let mut with_tools = plain.clone();
        with_tools.tools = vec![serde_json::json!({
            "type": "function",
            "function": {"name": "ztool", "description": "", "parameters": {"type": "object", "properties": {}}},
        })];
        let text = self.renderer.render(&with_tools, true);
        text.is_ok_and(|text| text.contains("ztool"))
    }
}

/// From where one text begins to differ from another, a few words.
fn from_difference(text: &str, other: &str) -> String {
    let same = text
        .chars()
        .zip(other.chars())
        .take_while(|(a, b)| a == b)
        .count();
    text.chars()
        .skip(same.saturating_sub(12))
        .take(48)
        .collect()
}

/// A system message, and so many questions, each but the last with its reply.
fn turns(system: Option<&str>, questions: usize) -> Vec<Turn> {
    let mut turns: Vec<Turn> = system
        .map(|words| Turn::new(Role::System, words))
        .into_iter()
        .collect();
    for at in 0..questions {
        turns.push(Turn::new(Role::User, ASKED[at]));
        if at + 1 < questions {
            turns.push(Turn::new(Role::Assistant, SAID[at]));
        }
    }
    turns
}

fn messages(system: Option<&str>, questions: usize) -> Vec<Message> {
    turns(system, questions).into_iter().map(message).collect()
}

/// A turn as Ollama has it.
fn message(turn: Turn) -> Message {
    Message {
        role: turn.role.name().to_owned(),
        content: turn.text,
    }
}

/// What stands around and between the words, in their order.
fn gaps(text: &str, words: &[&str]) -> Result<Vec<String>> {
    let (mut gaps, mut rest) = (Vec::new(), text);
    for word in words {
        let (gap, after) = rest
            .split_once(word)
            .ok_or_else(|| refused("it changes or leaves out words"))?;
        gaps.push(gap.to_owned());
        rest = after;
    }
    gaps.push(rest.to_owned());
    Ok(gaps)
}

const TALK: [&str; 5] = [ASKED[0], SAID[0], ASKED[1], SAID[1], ASKED[2]];

impl Pieces {
    fn cut(writer: &Writer) -> Result<Self> {
        let talk = gaps(&writer.prompt(turns(None, 3))?, &TALK)?;
        let [opening, ask, close, _, _, prompt] = &talk[..] else {
            return Err(refused("it leaves out words"));
        };
        Ok(Self {
            opening: opening.clone(),
            ask: ask.clone(),
            close: close.clone(),
            prompt: prompt.clone(),
            system: System::find(writer, &talk)?,
        })
    }

    /// A template that Ollama runs once for each exchange, as most Modelfiles have: text and default system message. It
    /// cannot tell the first exchange from a later one but by its system message.
    fn by_exchange(&self) -> Option<(String, Option<String>)> {
        if self.ask != self.prompt {
            return None;
        }
        let shared = common_end(&self.opening, &self.close);
        let (after_reply, before_user) = self.close.split_at(self.close.len() - shared);
        let is_plain = self.opening == before_user;
        let (first, default) = match &self.system {
            System::Last(..) => return None,
            System::Nowhere if is_plain => (literal(before_user), None),
            System::Nowhere => return None,
            System::First(before, after) => {
                let default = match is_plain {
                    true => None,
                    false => {
                        let inside = self.opening.strip_prefix(before.as_str())?;
                        Some(inside.strip_suffix(after.as_str())?.to_owned())
                    }
                };
                // An empty text is no default to Ollama.
                if default
                    .as_deref()
                    .is_some_and(|text| text.is_empty() || text.contains("\"\"\""))
                {
                    return None;
                }
                let before = literal(before);
                let first = match after.strip_suffix(before_user) {
                    Some(end) => format!(
                        "{{{{ if .System }}}}{before}{{{{ .System }}}}{}{{{{ end }}}}{}",
                        literal(end),
                        literal(before_user)
                    ),
                    None => format!(
                        "{{{{ if .System }}}}{before}{{{{ .System }}}}{}{{{{ else }}}}{}{{{{ end }}}}",
                        literal(after),
                        literal(before_user)
                    ),
                };
                (first, default)
            }
        };
        let template = format!(
            "{first}{{{{ .Prompt }}}}{}{{{{ .Response }}}}{}",
            literal(&self.prompt),
            literal(after_reply)
        );
        Some((template, default))
    }

    /// A template that Ollama runs once over all messages.
    fn by_messages(&self) -> (String, Option<String>) {
        const IS_LAST: &str = "eq (len (slice $.Messages $i)) 1";
        let start = match &self.system {
            // What stands there in any case stands outside of every condition.
            System::First(before, after) if format!("{before}{after}") == self.opening => {
                format!("{}{{{{ .System }}}}{}", literal(before), literal(after))
            }
            System::First(before, after) => format!(
                "{{{{ if .System }}}}{}{{{{ .System }}}}{}{{{{ else }}}}{}{{{{ end }}}}",
                literal(before),
                literal(after),
                literal(&self.opening)
            ),
            System::Last(..) | System::Nowhere => literal(&self.opening),
        };
        let before_question = match &self.system {
            System::Last(before, after) => format!(
                "{{{{ if and $.System ({IS_LAST}) }}}}{}{{{{ $.System }}}}{}{{{{ end }}}}",
                literal(before),
                literal(after)
            ),
            _ => String::new(),
        };
        let after_question = match self.ask == self.prompt {
            true => literal(&self.ask),
            false => format!(
                "{{{{ if {IS_LAST} }}}}{}{{{{ else }}}}{}{{{{ end }}}}",
                literal(&self.prompt),
                literal(&self.ask)
            ),
        };
        let template = format!(
            "{start}{{{{ range $i, $_ := .Messages }}}}\
             {{{{ if eq .Role \"user\" }}}}{before_question}{{{{ .Content }}}}{after_question}\
             {{{{ else if eq .Role \"assistant\" }}}}{{{{ .Content }}}}{{{{ if not ({IS_LAST}) }}}}{}{{{{ end }}}}\
             {{{{ end }}}}{{{{ end }}}}",
            literal(&self.close)
        );
        (template, None)
    }
}

impl System {
    fn find(writer: &Writer, plain: &[String]) -> Result<Self> {
        let Ok(text) = writer.prompt(turns(Some(SYSTEM), 3)) else {
            return Ok(Self::Nowhere);
        };
        if !text.contains(SYSTEM) {
            return Ok(Self::Nowhere);
        }
        let talk = gaps(&text, &TALK)?;
        let there = talk.iter().position(|gap| gap.contains(SYSTEM));
        let (before, after) = there
            .and_then(|at| talk[at].split_once(SYSTEM))
            .ok_or_else(|| refused("it writes a system message after the questions"))?;
        match there {
            Some(0) => Ok(Self::First(before.to_owned(), after.to_owned())),
            Some(4) => {
                let before = before.strip_prefix(plain[4].as_str());
                let before =
                    before.ok_or_else(|| refused("a system message changes what is around it"))?;
                Ok(Self::Last(before.to_owned(), after.to_owned()))
            }
            _ => Err(refused("it writes a system message between the questions")),
        }
    }
}

fn refused(why: &str) -> anyhow::Error {
    Refusal::failed(format!("this chat template has no equal in Ollama: {why}"))
        .hint("export --to gguf, which carries the template itself, and write the Modelfile's TEMPLATE by hand")
        .into()
}

/// How many bytes two texts have in common at their ends, whole characters only.
fn common_end(a: &str, b: &str) -> usize {
    let pairs = a.chars().rev().zip(b.chars().rev());
    pairs
        .take_while(|(x, y)| x == y)
        .map(|(x, _)| x.len_utf8())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_text::{ChatTemplate, Tokenizer};

    fn renderer(template: Option<&str>) -> Renderer {
        let dir = format!(
            "{}/../../fixtures/models/tiny-llama-tied",
            env!("CARGO_MANIFEST_DIR")
        );
        let read = |file: &str| std::fs::read(format!("{dir}/{file}")).unwrap();
        let config: serde_json::Value =
            serde_json::from_slice(&read("tokenizer_config.json")).unwrap();
        let own = config["chat_template"].as_str().unwrap();
        let template = ChatTemplate::new(template.unwrap_or(own)).unwrap();
        let tokenizer = Tokenizer::from_json(&read("tokenizer.json")).unwrap();
        Renderer::new(
            tokenizer
                .with_config(&read("tokenizer_config.json"))
                .unwrap(),
            Some(template),
            &[2],
        )
        .unwrap()
    }

    fn form(template: &str) -> Form {
        Form::of(&renderer(Some(template))).unwrap()
    }

    /// What Ollama writes for a first question without a system message, by a template that names the messages.
    fn first_prompt(form: &Form) -> String {
        let asked = Message {
            role: "user".into(),
            content: "Hi".into(),
        };
        GoTemplate::parse(&form.template)
            .unwrap()
            .prompt(&[asked])
            .unwrap()
    }

    const TURNS: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    #[test]
    fn chatml_becomes_the_template_that_ollama_knows() {
        let form = Form::of(&renderer(None)).unwrap();
        assert_eq!(
            form.template,
            "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n\
             <|im_start|>assistant\n{{ .Response }}<|im_end|>\n"
        );
        assert_eq!((form.system, form.notices), (None, vec![]));
    }

    #[test]
    fn a_system_message_that_the_template_adds_is_kept() {
        let added = format!(
            "{{% if messages[0].role != 'system' %}}<|im_start|>system\nBe kind.<|im_end|>\n{{% endif %}}{TURNS}"
        );
        assert_eq!(form(&added).system.as_deref(), Some("Be kind."));
    }

    #[test]
    fn a_block_that_stands_there_without_a_system_message_is_outside_of_every_condition() {
        let dated = "{%- if messages[0].role == 'system' -%}{%- set about = messages[0].content -%}{%- set talk = messages[1:] -%}\
            {%- else -%}{%- set about = '' -%}{%- set talk = messages -%}{%- endif -%}\
            <|im_start|>system\nIt is {{ strftime_now('%d %b %Y') }}.\n\n{{ about }}<|im_end|>\n\
            {% for m in talk %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
            {%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
        let form = form(dated);
        assert_eq!(form.system, None);
        let prompt = first_prompt(&form);
        assert!(
            prompt.starts_with("<|im_start|>system\nIt is ")
                && prompt.contains(".\n\n<|im_end|>\n<|im_start|>user\nHi<|im_end|>"),
            "{prompt}"
        );
        assert!(form.notices[0].contains("date"), "{:?}", form.notices);
    }

    #[test]
    fn a_template_without_a_place_for_system_messages_has_a_form_and_says_so() {
        let refusing = format!(
            "{{% if messages[0].role == 'system' %}}{{{{ raise_exception('none here') }}}}{{% endif %}}{TURNS}"
        );
        let form = form(&refusing);
        assert_eq!(
            form.template,
            "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n{{ .Response }}<|im_end|>\n"
        );
        assert!(
            form.notices[0].contains("no place for a system message"),
            "{:?}",
            form.notices
        );
    }

    #[test]
    fn a_system_message_before_the_last_question_stays_there() {
        let last = "{% if messages[0].role == 'system' %}{% set s = messages[0].content %}{% set talk = messages[1:] %}{% else %}{% set s = '' %}{% set talk = messages %}{% endif %}\
            {% for m in talk %}{% if m.role == 'user' %}<|im_start|>{% if loop.last and s %}{{ s }}\n\n{% endif %}{{ m.content }}<|endoftext|>{% else %} {{ m.content }}<|im_end|>{% endif %}{% endfor %}";
        let form = form(last);
        assert!(form.template.contains("{{ if and $.System (eq (len (slice $.Messages $i)) 1) }}{{ $.System }}\n\n{{ end }}{{ .Content }}"), "{}", form.template);
    }

    #[test]
    fn a_prompt_that_opens_the_thoughts_is_not_in_the_turns_before() {
        let thinking = TURNS.replace(
            "<|im_start|>assistant\n",
            "<|im_start|>assistant\n<think>\n",
        );
        let form = form(&thinking);
        assert!(first_prompt(&form).ends_with("assistant\n<think>\n"));
        assert!(form.notices[0].contains("thoughts"), "{:?}", form.notices);
    }

    #[test]
    fn thoughts_of_earlier_replies_that_ollama_treats_otherwise_are_said() {
        // As Qwen 3: thoughts of the last reply alone, given apart or in front of the reply.
        let last_alone = "{% for m in messages %}{% set said = m.content.split('</think>')[-1].lstrip('\n') %}\
            {% set thought = m.reasoning_content or m.content.split('</think>')[0].split('<think>')[-1].strip('\n') %}\
            <|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last and ('</think>' in m.content or m.reasoning_content) %}<think>\n{{ thought }}\n</think>\n\n{% endif %}{{ said }}<|im_end|>\n{% endfor %}\
            {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
        let notices = form(last_alone).notices;
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(
            notices[0].contains("leaves the thoughts of earlier replies out")
                && notices[0].contains("between `<think>` and `</think>`"),
            "{notices:?}"
        );
        // The same without a word of thoughts in turns before, which Ollama leaves as they are.
        let every = last_alone.replace("and loop.last ", "");
        assert_eq!(form(&every).notices, [] as [&str; 0]);
        // As DeepSeek-R1: the prompt opens them, and no earlier reply has any.
        let opened = TURNS
            .replace(
                "{{ m.content }}",
                "{{ m.content.split('</think>')[-1].lstrip('\n') }}",
            )
            .replace(
                "<|im_start|>assistant\n",
                "<|im_start|>assistant\n<think>\n",
            );
        let notices = form(&opened).notices;
        assert!(
            notices.len() == 2 && notices[1].contains("leaves the thoughts of earlier replies out"),
            "{notices:?}"
        );
        // Opened by the prompt, and written with their tag when the conversation has gone on.
        let opened = TURNS.replace(
            "<|im_start|>assistant\n",
            "<|im_start|>assistant\n<think>\n",
        );
        let notices = form(&opened).notices;
        assert!(
            notices.len() == 2 && notices[1].contains("otherwise than the model writes them"),
            "{notices:?}"
        );
    }

    #[test]
    fn a_default_system_message_changes_no_thoughts() {
        let added = format!(
            "{{% if messages[0].role != 'system' %}}<|im_start|>system\nBe kind.<|im_end|>\n{{% endif %}}{TURNS}"
        );
        let form = form(&added);
        assert_eq!(form.system.as_deref(), Some("Be kind."));
        assert_eq!(form.notices, [] as [&str; 0]);
    }

    #[test]
    fn what_the_model_writes_before_the_words_of_a_reply_is_said_as_what_it_is() {
        let blank = "{% for m in messages %}{% if m.role == 'user' %}USER: {{ m.content }} {% elif m.role == 'system' %}{{ m.content }} \
            {% else %}ASSISTANT: {{ m.content }}<|im_end|>{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}";
        let notices = form(blank).notices;
        assert_eq!(
            notices,
            [
                "the model begins its replies with \" \", and the chat template writes that itself before earlier ones: send earlier \
              replies without it"
            ]
        );
    }

    #[test]
    fn what_a_modelfile_cannot_hold_is_refused() {
        for text in ["a\"\"\"\nPARAMETER stop x", "a\"", "\0"] {
            assert!(quoted("the system message", text).is_err(), "{text}");
        }
        assert_eq!(
            quoted("it", "a \"b\"\nc").unwrap(),
            "\"\"\"a \"b\"\nc\"\"\""
        );
        for from in ["a\nADAPTER evil", "a\u{1b}[2J", "a\r"] {
            assert!(on_one_line("the name of the base", from).is_err(), "{from}");
        }
        assert_eq!(stop_words("<|im_end|>").unwrap(), "\"<|im_end|>\"");
        assert!(stop_words("\u{7}").is_err());
    }

    #[test]
    fn quotes_and_braces_of_a_template_are_written_so_that_they_stay_text() {
        let odd = "{% for m in messages %}{{ '\"{{' }}{{ m.role }}\"\"\"{{ m.content }}{{ '{' }}<|im_end|>\"{% endfor %}\
            {% if add_generation_prompt %}{{ '\"{{' }}assistant\"\"\"{% endif %}";
        let form = form(odd);
        assert!(!form.template.contains("\"\"\""), "{}", form.template);
        assert!(!form.template.starts_with('"') && !form.template.ends_with('"'));
    }

    #[test]
    fn a_template_that_is_no_row_of_turns_is_refused() {
        let counts = "{% for m in messages %}[{{ loop.index }}]{{ m.role }}: {{ m.content }}<|im_end|>\n{% endfor %}\
            {% if add_generation_prompt %}assistant: {% endif %}";
        let error = Form::of(&renderer(Some(counts))).unwrap_err();
        assert!(error.to_string().contains("no equal in Ollama"), "{error}");
    }
}
