//! Where the last reply of a conversation begins and ends, and what the model has to write of it.
//!
//! A template tells by what it does: it is run on sample conversations, and what stands behind a reply whether the conversation goes on
//! or not is what ends it.

use super::*;

impl Renderer {
    /// The last reply of a finished conversation, which has to be its prompt and then all that the row says in the reply.
    pub(super) fn reply(
        &self,
        finished: &Skeleton,
        prompt: &Skeleton,
        form: &Conversation,
        words: &[Word<'_>],
        turn: usize,
    ) -> Result<Reply, RenderError> {
        let number = turn + 1;
        let start = finished.after(prompt).ok_or_else(|| {
            let tail = tail(prompt.tail(), 40);
            match form.turns[turn].calls.is_empty() {
                true => RenderError::PromptDiffers { tail },
                false => RenderError::CallUnplaced { number },
            }
        })?;
        self.reply_from(start, finished, form, words, turn)
    }

    /// The last reply, whose prompt ends at `start`.
    pub(super) fn reply_from(
        &self,
        start: Point,
        finished: &Skeleton,
        form: &Conversation,
        words: &[Word<'_>],
        turn: usize,
    ) -> Result<Reply, RenderError> {
        let (number, role) = (turn + 1, Role::Assistant);
        for (index, word) in own_words(words, turn) {
            match (finished.count_after(index, start), word.kind) {
                (1, _) => {}
                (0, WordKind::Reasoning) => return Err(RenderError::ReasoningDropped { number }),
                (0, _) => return Err(RenderError::Dropped { number, role }),
                (count, _) => {
                    return Err(RenderError::Repeated {
                        number,
                        role,
                        count,
                    });
                }
            }
        }
        if finished.turns_after(start).any(|other| other != turn) {
            return Err(RenderError::Rewritten { number, role });
        }
        let end = self.end(finished, form, words, turn, start)?;
        let written = finished.between(start, end);
        let mut calls = form.turns[turn].calls.iter();
        let is_cut = calls.any(|call| !written.contains(&call.name));
        if is_cut || finished.turns_after(end).any(|other| other == turn) {
            let before = &finished.glue(end.glue)[..end.offset];
            let token = self.last_token(before).map(|(_, token)| token);
            let token = token.unwrap_or_default();
            return Err(RenderError::StopBeforeCall { number, token });
        }
        Ok(Reply { turn, start, end })
    }

    /// Where a reply that begins at `start` ends.
    pub(super) fn end(
        &self,
        finished: &Skeleton,
        form: &Conversation,
        words: &[Word<'_>],
        turn: usize,
        start: Point,
    ) -> Result<Point, RenderError> {
        // What stands behind the last word is known of answers only.
        let shown = own_words(words, turn).filter(|(index, _)| finished.count(*index) > 0);
        let is_answer = shown
            .last()
            .is_some_and(|(_, word)| word.kind == WordKind::Text);
        if !is_answer || !form.turns[turn].calls.is_empty() {
            return self.end_of_call(finished, turn, start);
        }
        let last = finished.glue_after(turn).unwrap_or(start.glue);
        let glue = finished.glue(last);
        if let Some(closing) = self
            .closing
            .as_deref()
            .filter(|closing| glue.starts_with(closing))
        {
            let offset = closing.len();
            return Ok(Point { glue: last, offset });
        }
        let end = self
            .tokenizer
            .first_added(glue)
            .filter(|span| glue[..span.bytes.start].trim().is_empty());
        let end = end.ok_or_else(|| RenderError::NoEndToken {
            glue: glue.to_owned(),
        })?;
        Ok(Point {
            glue: last,
            offset: end.bytes.end,
        })
    }

    /// What opens and closes the reasoning inside a reply, as in `<think>` and `</think>`, if the template or the tokenizer
    /// knows of any.
    pub fn reasoning_tags(&self) -> Option<(&'static str, &'static str)> {
        self.reasoning_tags.map(|tags| (tags.open, tags.close))
    }

    /// A reply whose reasoning the template takes out. `why` it is no reply as it is.
    pub(super) fn continued(
        &self,
        finished: &Skeleton,
        prompt: &Skeleton,
        form: &Conversation,
        words: &[Word<'_>],
        turn: usize,
        why: RenderError,
    ) -> Result<Continued, RenderError> {
        let (number, said) = (turn + 1, &form.turns[turn]);
        let Some(tags) = self.reasoning_tags else {
            return Err(why);
        };
        let end = prompt.tail();
        let opened = end
            .trim_end()
            .ends_with(tags.open)
            .then(|| end.len() - end.rfind(tags.open).unwrap_or(end.len()));
        let thought = own_words(words, turn).find(|(_, word)| word.kind == WordKind::Reasoning);
        let tail = tail(end, 40);
        let Some((thought, _)) = thought else {
            if opened.is_some() {
                let option = self.closing_option(tags).clone().map(Box::new);
                return Err(RenderError::ReasoningMissing {
                    number,
                    tail,
                    option,
                });
            }
            // The prompt says that there is no reasoning, and a finished reply does not say so again.
            let header = tags
                .closed_block(end)
                .map(|bytes| prompt.without_end(bytes));
            let Some(start) = header.and_then(|header| finished.after(&header)) else {
                return Err(why);
            };
            if says_reasoning(&finished.glue(start.glue)[start.offset..], tags) {
                return Err(why);
            }
            let reply = self.reply_from(start, finished, form, words, turn)?;
            return Ok(Continued {
                reply,
                skipped: 0,
                before: String::new(),
                after: String::new(),
            });
        };
        if tags.closed_block(end).is_some() {
            let option = self.opening_option(tags).clone().map(Box::new);
            return Err(RenderError::ReasoningClosed {
                number,
                tail,
                option,
            });
        }
        if finished.count(thought) > 0 {
            return Err(why);
        }
        let header = prompt.without_end(opened.unwrap_or(0));
        let Some(start) = finished.after(&header) else {
            return Err(why);
        };
        let others = own_words(words, turn).filter(|(index, _)| *index != thought);
        let mut counts = others.map(|(index, _)| finished.count_after(index, start));
        if counts.any(|count| count != 1) || finished.turns_after(start).any(|other| other != turn)
        {
            return Err(why);
        }
        let reply = Reply {
            turn,
            start,
            end: self.end(finished, form, words, turn, start)?,
        };
        let rest = &finished.glue(start.glue)[start.offset..];
        if says_reasoning(rest, tags) {
            return Err(why);
        }
        let skipped = rest.len() - rest.trim_start().len();
        let (before, after) = around_reasoning(said, tags);
        let before = match opened {
            None if before.trim_start().starts_with(tags.open) => before,
            // What the model would begin with, nobody says.
            None => return Err(why),
            // The prompt has the tag already, and the spaces behind it.
            Some(bytes) => {
                let spaces = &end[end.len() - bytes + tags.open.len()..];
                let begun = before.trim_start();
                let own = begun.strip_prefix(tags.open).unwrap_or(begun);
                own.strip_prefix(spaces).unwrap_or_default().to_owned()
            }
        };
        Ok(Continued {
            reply,
            skipped,
            before,
            after,
        })
    }

    /// The option that keeps the generation prompt from opening the reasoning, if the template has one.
    pub(super) fn closing_option(&self, tags: ReasoningTags) -> &Option<TemplateOption> {
        let is_closed = |prompt: &str| !prompt.trim_end().ends_with(tags.open);
        self.closing_option
            .get_or_init(|| self.switch(false, is_closed))
    }

    /// The option that keeps it from closing the reasoning.
    pub(super) fn opening_option(&self, tags: ReasoningTags) -> &Option<TemplateOption> {
        let is_open = |prompt: &str| tags.closed_block(prompt).is_none();
        self.opening_option
            .get_or_init(|| self.switch(true, is_open))
    }

    /// The first option about reasoning that with this value makes the generation prompt as it should be.
    pub(super) fn switch(
        &self,
        value: bool,
        is_right: impl Fn(&str) -> bool,
    ) -> Option<TemplateOption> {
        let names = self.template.reads().iter();
        let names = names.filter(|name| name.contains("think") || name.contains("reason"));
        let asked = self.sample([Turn::new(Role::User, "text")]);
        let add_bos = self.tokenizer.adds_bos();
        names
            .map(|name| TemplateOption {
                name: name.clone(),
                value: value.into(),
            })
            .find(|option| {
                let switched = self
                    .template
                    .clone()
                    .with_options(std::slice::from_ref(option));
                let prompt = switched.and_then(|mut template| {
                    template.set_showing(self.template.showing());
                    template.render(&asked, true, &self.named_tokens, add_bos)
                });
                prompt.is_ok_and(|prompt| is_right(&prompt))
            })
    }

    /// Calls may be fenced by control tokens of their own; what ends them is the first one that stops.
    pub(super) fn end_of_call(
        &self,
        skeleton: &Skeleton,
        turn: usize,
        start: Point,
    ) -> Result<Point, RenderError> {
        let last = skeleton.glue_after(turn).unwrap_or(start.glue);
        for glue in start.glue..=last {
            let text = skeleton.glue(glue);
            let mut offset = if glue == start.glue { start.offset } else { 0 };
            while let Some(span) = self.tokenizer.first_added(&text[offset..]) {
                offset += span.bytes.end;
                if self.stops.contains(&span.id) {
                    return Ok(Point { glue, offset });
                }
            }
        }
        Err(RenderError::NoEndToken {
            glue: skeleton.glue(last).to_owned(),
        })
    }

    /// What stands behind a reply whether the conversation goes on or not, up to the last control token of it: a model
    /// that writes `<|END_RESPONSE|><|END_OF_TURN_TOKEN|>` has ended its turn with the second.
    pub(super) fn find_closing(&self) -> Option<String> {
        let roles = [Role::User, Role::Assistant, Role::User];
        let talk = self.sample(roles.map(|role| Turn::new(role, "text")));
        let behind = |turns: usize| {
            let form = stand_in(&talk.up_to(turns), None);
            let skeleton = self.skeleton(&form, false).ok()?;
            Some(skeleton.glue(skeleton.glue_after(1)?).to_owned())
        };
        let (mut finished, goes_on) = (behind(2)?, behind(3)?);
        if let Some(next) = self.unasked_prompt(&finished) {
            finished.truncate(next);
        }
        let both = finished.chars().zip(goes_on.chars());
        let same: usize = both
            .take_while(|(a, b)| a == b)
            .map(|(c, _)| c.len_utf8())
            .sum();
        // Tokens of the whole, so that none is taken for another that it begins with.
        let (mut end, mut at) = (0, 0);
        while let Some(span) = self.tokenizer.first_added(&finished[at..]) {
            at += span.bytes.end;
            if at > same {
                break;
            }
            end = at;
        }
        let first = self.tokenizer.first_added(&finished)?;
        let is_sound = end > 0 && finished[..first.bytes.start].trim().is_empty();
        is_sound.then(|| finished[..end].to_owned())
    }

    /// Where in what stands behind the last reply the next prompt begins, if the template writes one unasked: with the
    /// control token that a conversation begins with. That is BOS only where no other one follows it: some models open
    /// every turn with their BOS.
    pub(super) fn unasked_prompt(&self, behind: &str) -> Option<usize> {
        let talk = self.sample([
            Turn::new(Role::User, MARK),
            Turn::new(Role::Assistant, "text"),
        ]);
        let unasked = self.render(&talk, false).ok()?;
        if self.render(&talk, true).ok()? != unasked {
            return None;
        }
        let (mut begun, mut opens) = (unasked.split(MARK).next()?, None);
        while let Some(span) = self.tokenizer.first_added(begun) {
            opens = Some(&begun[span.bytes.clone()]);
            if Some(span.id) != self.tokenizer.bos() {
                break;
            }
            begun = &begun[span.bytes.end..];
        }
        behind.find(opens?).filter(|&at| at > 0)
    }

    /// The control token that a text ends in.
    pub(super) fn last_token(&self, text: &str) -> Option<(u32, String)> {
        text.char_indices().rev().find_map(|(at, _)| {
            let span = self.tokenizer.first_added(&text[at..])?;
            let ends = span.bytes == (0..text.len() - at);
            ends.then(|| (span.id, text[at..].to_owned()))
        })
    }

    /// The token that closes a reply, if the template closes one in the simplest conversation.
    pub(super) fn turn_end(&self) -> Option<u32> {
        if let Some(closing) = &self.closing {
            return self.last_token(closing).map(|(id, _)| id);
        }
        let turns = [Role::User, Role::Assistant].map(|role| Turn::new(role, "text"));
        let form = stand_in(&self.sample(turns), None);
        let skeleton = self.skeleton(&form, false).ok()?;
        let glue = skeleton.glue(skeleton.glue_after(1)?);
        Some(self.tokenizer.first_added(glue)?.id)
    }
}

/// The words of a turn, with their places in the list of all.
pub(super) fn own_words<'a, 'b>(
    words: &'b [Word<'a>],
    turn: usize,
) -> impl Iterator<Item = (usize, &'b Word<'a>)> {
    let all = words.iter().enumerate();
    all.filter(move |(_, word)| word.turn == turn)
}

/// Does the beginning of a reply say whether there is reasoning?
pub(super) fn says_reasoning(glue: &str, tags: ReasoningTags) -> bool {
    glue.contains(tags.open) || glue.contains(tags.close)
}

/// What stands before and after the reasoning of a reply, tags and spaces: as the row has it, or as models write it.
pub(super) fn around_reasoning(said: &Turn, tags: ReasoningTags) -> (String, String) {
    let pieces = pieces(said, Some(tags));
    let inline = pieces
        .iter()
        .position(|piece| matches!(piece, Piece::Word(WordKind::Reasoning, _)));
    let form = |index: usize| match pieces.get(index) {
        Some(Piece::Form(text)) => (*text).to_owned(),
        _ => String::new(),
    };
    match inline {
        Some(index) => (
            index.checked_sub(1).map(form).unwrap_or_default(),
            form(index + 1),
        ),
        None => (format!("{}\n", tags.open), format!("\n{}\n\n", tags.close)),
    }
}

pub(super) fn tail(text: &str, chars: usize) -> String {
    let skip = text.chars().count().saturating_sub(chars);
    text.chars().skip(skip).collect()
}
