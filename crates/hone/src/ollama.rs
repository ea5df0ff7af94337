//! A Modelfile for Ollama: where the model is, how a conversation is written, where a reply ends.
//!
//! Ollama has templates in Go's language, and a model that is asked in another form than it was trained in answers
//! badly and says nothing. So the pieces are cut out of what our own renderer writes, put together again, and compared
//! with it; a template that is more than a row of turns is refused.

use crate::base::OpenBase;
use crate::refusal::Refusal;
use anyhow::Result;
use hone_text::{Conversation, Renderer, Role, Turn};

/// The Modelfile of a model, or of an adapter beside `from`.
pub fn modelfile(from: &str, adapter: Option<&str>, open: &OpenBase) -> Result<String> {
    let pieces = Pieces::cut(&open.renderer)?;
    let mut lines = vec![format!("FROM {from}")];
    lines.extend(adapter.map(|adapter| format!("ADAPTER {adapter}")));
    lines.push(format!("TEMPLATE {}", quoted(&pieces.template())?));
    if let Some(system) = &pieces.default_system {
        lines.push(format!("SYSTEM {}", quoted(system)?));
    }
    for id in open.renderer.stop_ids() {
        if let Some(stop) = open.renderer.tokenizer().token(*id) {
            lines.push(format!("PARAMETER stop {}", serde_json::to_string(&stop)?));
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// Three quotes are how a Modelfile holds lines, and there is no way to write three quotes in them.
fn quoted(text: &str) -> Result<String> {
    match text.contains("\"\"\"") {
        true => Err(refused("it contains three quotes")),
        false => Ok(format!("\"\"\"{text}\"\"\"")),
    }
}

/// What stands between the words of a conversation.
#[derive(Debug, PartialEq)]
struct Pieces {
    /// Before a system message.
    before_system: String,
    /// Between it and the user's words.
    after_system: String,
    /// Before the user's words where there is no system message.
    before_user: String,
    /// After them, up to where the model begins to write.
    after_user: String,
    /// What ends a reply.
    after_reply: String,
    /// The system message that the model's template puts where none is given.
    default_system: Option<String>,
}

// Words that no template contains, of which no tokenizer makes anything special.
const SYSTEM: &str = "Zsystemwords";
const FIRST: &str = "Zfirstquestion";
const REPLY: &str = "Zreplywords";
const SECOND: &str = "Zsecondquestion";

impl Pieces {
    fn cut(renderer: &Renderer) -> Result<Self> {
        let turn = |role, words: &str| Turn::new(role, words);
        let asked = |turns: Vec<Turn>| renderer.render(&Conversation::new(turns), true);
        let plain = asked(vec![turn(Role::User, FIRST)])?;
        let with_system = asked(vec![turn(Role::System, SYSTEM), turn(Role::User, FIRST)])?;
        let twice = asked(vec![
            turn(Role::User, FIRST),
            turn(Role::Assistant, REPLY),
            turn(Role::User, SECOND),
        ])?;
        let (start, after_user) = cut(&plain, FIRST)?;
        let (before_system, rest) = cut(&with_system, SYSTEM)?;
        let (after_system, _) = cut(rest, FIRST)?;
        let (_, rest) = cut(&twice, REPLY)?;
        let (between, _) = cut(rest, SECOND)?;

        // What comes before a later question is its own beginning; the rest of what lies between ends the reply.
        let bos = renderer
            .tokenizer()
            .bos()
            .filter(|_| renderer.tokenizer().adds_bos());
        let bos = bos
            .and_then(|id| renderer.tokenizer().token(id))
            .unwrap_or_default();
        let own = |text: &str| text.strip_prefix(bos.as_str()).unwrap_or(text).to_owned();
        let (start, before_system) = (own(start), own(before_system));
        let opening = common_end(&start, between);
        let before_user = between[between.len() - opening..].to_owned();
        let after_reply = between[..between.len() - opening].to_owned();
        let pieces = Self {
            default_system: default_system(&start, &before_system, after_system, &before_user)?,
            before_system,
            after_system: after_system.to_owned(),
            before_user,
            after_user: after_user.to_owned(),
            after_reply,
        };
        pieces.compare(renderer, &bos)?;
        Ok(pieces)
    }

    /// Puts a conversation together as Ollama does, and compares it with the renderer.
    fn compare(&self, renderer: &Renderer, bos: &str) -> Result<()> {
        for system in [None, Some(SYSTEM)] {
            let turns = [
                (Role::User, FIRST),
                (Role::Assistant, REPLY),
                (Role::User, SECOND),
            ];
            let turns = turns
                .into_iter()
                .map(|(role, words)| Turn::new(role, words));
            let system_turn = system
                .into_iter()
                .map(|words| Turn::new(Role::System, words));
            let expected = renderer.render(&Conversation::new(system_turn.chain(turns)), true)?;
            let first = match system.or(self.default_system.as_deref()) {
                Some(system) => format!("{}{system}{}", self.before_system, self.after_system),
                None => self.before_user.clone(),
            };
            let ours = [
                &first,
                FIRST,
                &self.after_user,
                REPLY,
                &self.after_reply,
                &self.before_user,
                SECOND,
                &self.after_user,
            ]
            .concat();
            if expected.strip_prefix(bos).unwrap_or(&expected) != ours {
                return Err(refused("its turns do not follow one another in one form"));
            }
        }
        Ok(())
    }

    /// In Go's template language.
    fn template(&self) -> String {
        let first = match self.after_system.strip_suffix(&self.before_user) {
            Some(end) => format!(
                "{{{{ if .System }}}}{}{{{{ .System }}}}{end}{{{{ end }}}}{}",
                self.before_system, self.before_user
            ),
            None => format!(
                "{{{{ if .System }}}}{}{{{{ .System }}}}{}{{{{ else }}}}{}{{{{ end }}}}",
                self.before_system, self.after_system, self.before_user
            ),
        };
        format!(
            "{first}{{{{ .Prompt }}}}{}{{{{ .Response }}}}{}",
            self.after_user, self.after_reply
        )
    }
}

fn cut<'a>(text: &'a str, word: &str) -> Result<(&'a str, &'a str)> {
    text.split_once(word)
        .ok_or_else(|| refused("it changes or leaves out words"))
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

/// The system message that stands at the start where none was given.
fn default_system(
    start: &str,
    before: &str,
    after: &str,
    before_user: &str,
) -> Result<Option<String>> {
    if start == before_user {
        return Ok(None);
    }
    let inside = start
        .strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(after));
    inside
        .map(|inside| Some(inside.to_owned()))
        .ok_or_else(|| refused("its first turn differs from the others"))
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

    #[test]
    fn chatml_becomes_the_template_that_ollama_knows() {
        let pieces = Pieces::cut(&renderer(None)).unwrap();
        assert_eq!(
            pieces.template(),
            "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n\
             <|im_start|>assistant\n{{ .Response }}<|im_end|>\n"
        );
    }

    #[test]
    fn a_system_message_that_the_template_adds_is_kept() {
        let template = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}\
            {% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
            {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
        let pieces = Pieces::cut(&renderer(Some(template))).unwrap();
        assert_eq!(pieces.default_system.as_deref(), Some("Be kind."));
    }

    #[test]
    fn a_template_that_is_no_row_of_turns_is_refused() {
        let counts = "{% for m in messages %}[{{ loop.index }}]{{ m.role }}: {{ m.content }}<|im_end|>\n{% endfor %}\
            {% if add_generation_prompt %}assistant: {% endif %}";
        let error = Pieces::cut(&renderer(Some(counts))).unwrap_err();
        assert!(error.to_string().contains("no equal in Ollama"), "{error}");
    }
}
