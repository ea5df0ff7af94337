//! Models sitting an exam: one batch for all of them, in which each prompt is read once for its loss and its answer.
//!
//! Answers are decoded greedily. How many are written at a time, and beside what, changes the speed and not the answers.

use hone_data::Example;
use hone_model::{
    Adapters, Completion, Engine, EngineLimits, GenerateError, Generation, Model, Request,
    Sampling, SequenceEvent,
};
use hone_text::Renderer;

use crate::harness::{Answer, Exam, ExamError, Judged, Progress, Question, Rules};
use crate::metric::exact::exact_match;
use crate::metric::rouge::rouge_l;

/// What is heard of a sitting.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// How far all of it is.
    pub progress: Progress,
    /// A row that a model is done with, and which of the models.
    pub done: Option<(usize, &'a Judged)>,
}

/// A model that sits an exam: the base with these adapters.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    /// Its adapters.
    pub adapters: Adapters,
    /// What it made of some rows before; it is not asked again.
    pub known: Vec<Judged>,
}

/// One row of one candidate on its way.
struct Paper {
    judged: Judged,
    /// Losses and answers that are still to come.
    open: usize,
}

/// What a request was for; its number is its place in the list of them.
#[derive(Clone, Copy)]
struct Asked {
    candidate: usize,
    example: usize,
    question: Option<usize>,
}

impl Exam {
    /// Has the model, with the adapters that are on, sit the exam; `told` hears of the progress.
    ///
    /// # Errors
    /// The device failed, or the model gives no finite numbers.
    pub fn sit(
        &self,
        model: &Model,
        renderer: &Renderer,
        rules: &Rules,
        mut told: impl FnMut(Progress) + Send,
    ) -> Result<Vec<Judged>, ExamError> {
        let alone = [Candidate::default()];
        let mut judged =
            self.sit_together(model, renderer, rules, &alone, |heard| told(heard.progress))?;
        Ok(judged.remove(0))
    }

    /// Has several models sit the exam side by side, which costs less than one after the other; `told` hears of the progress and
    /// of each row that is done. Each has its own list of all rows.
    ///
    /// # Errors
    /// As [`Self::sit`], and adapters that the model does not have.
    pub fn sit_together(
        &self,
        model: &Model,
        renderer: &Renderer,
        rules: &Rules,
        candidates: &[Candidate],
        mut told: impl FnMut(Heard) + Send,
    ) -> Result<Vec<Vec<Judged>>, ExamError> {
        let mut sitting = Sitting::new(self, renderer, rules, candidates);
        // An adapter that changes what all rows of a batch share sits alone.
        let all: Vec<usize> = (0..candidates.len()).collect();
        let mixes = |candidate: &Candidate| model.check_mixes(&candidate.adapters).is_ok();
        let groups: Vec<Vec<usize>> = match candidates.iter().all(mixes) {
            true => vec![all],
            false => all.into_iter().map(|one| vec![one]).collect(),
        };
        for group in groups {
            let mut engine = Engine::new(model, EngineLimits::of(rules.slots));
            let requests = sitting.requests(&group, rules);
            for (number, (asked, request)) in requests.iter().enumerate() {
                let adapters = candidates[asked.candidate].adapters.clone();
                let number = number as u64;
                engine.add(Request {
                    adapters,
                    number,
                    ..request.clone()
                })?;
            }
            while !engine.is_idle() {
                for event in engine.step()? {
                    sitting.hear(event, &requests, &mut told)?;
                }
            }
        }
        Ok(sitting.judged())
    }
}

struct Sitting<'a> {
    exam: &'a Exam,
    renderer: &'a Renderer,
    rules: &'a Rules,
    /// Of each candidate and each row.
    papers: Vec<Vec<Paper>>,
    /// The question of each row that has one.
    questions: Vec<Option<usize>>,
    progress: Progress,
}

impl<'a> Sitting<'a> {
    fn new(
        exam: &'a Exam,
        renderer: &'a Renderer,
        rules: &'a Rules,
        candidates: &[Candidate],
    ) -> Self {
        let mut questions = vec![None; exam.examples.len()];
        for (number, question) in exam.questions.iter().enumerate() {
            questions[question.example] = Some(number);
        }
        let paper = |(example, question): (&Example, &Option<usize>)| Paper {
            judged: Judged {
                score: exam.unscored(example),
                answer: None,
            },
            open: usize::from(rules.with_loss) + usize::from(question.is_some()),
        };
        let mut papers: Vec<Vec<Paper>> = Vec::new();
        for candidate in candidates {
            let rows = exam.examples.iter().zip(&questions);
            let mut own: Vec<Paper> = rows.map(paper).collect();
            for known in &candidate.known {
                let is_its = |paper: &&mut Paper| paper.judged.score.row == known.score.row;
                if let Some(paper) = own.iter_mut().find(is_its) {
                    *paper = Paper {
                        judged: known.clone(),
                        open: 0,
                    };
                }
            }
            papers.push(own);
        }
        let total = papers.iter().flatten().map(|paper| paper.open).sum();
        Self {
            exam,
            renderer,
            rules,
            papers,
            questions,
            progress: Progress { done: 0, total },
        }
    }

    /// What some candidates are to be asked, row by row, so that one that is fast waits for nobody.
    fn requests(&self, group: &[usize], rules: &Rules) -> Vec<(Asked, Request)> {
        let generation = Generation {
            max_new_tokens: rules.max_new_tokens,
            stop_ids: self.renderer.stop_ids().to_vec(),
            sampling: Sampling::GREEDY,
        };
        let mut requests = Vec::new();
        for (number, example) in self.exam.examples.iter().enumerate() {
            let question = self.questions[number];
            let asked = question.map(|own| &self.exam.questions[own]);
            for &candidate in group {
                if self.papers[candidate][number].open == 0 {
                    continue;
                }
                let mut add = |question, request| {
                    let asked = Asked {
                        candidate,
                        example: number,
                        question,
                    };
                    requests.push((asked, request));
                };
                let loss = rules.with_loss.then(|| scored(example, asked));
                match (loss, asked) {
                    // What is asked begins the row: it is read once for both.
                    (Some(loss), Some(asked)) if example.ids.starts_with(&asked.prompt) => {
                        let generation = generation.clone();
                        add(question, Request { generation, ..loss });
                    }
                    (loss, asked) => {
                        if let Some(loss) = loss {
                            add(None, loss);
                        }
                        if let Some(asked) = asked {
                            let generation = generation.clone();
                            let request = Request::new(asked.prompt.clone());
                            add(
                                question,
                                Request {
                                    generation,
                                    ..request
                                },
                            );
                        }
                    }
                }
            }
        }
        requests
    }

    fn hear(
        &mut self,
        event: SequenceEvent,
        requests: &[(Asked, Request)],
        told: &mut impl FnMut(Heard),
    ) -> Result<(), ExamError> {
        match event {
            SequenceEvent::Scored { number, nats, .. } => {
                let asked = requests[number as usize].0;
                let score = &mut self.papers[asked.candidate][asked.example].judged.score;
                (score.nats, score.tokens) = (nats.iter().sum(), nats.len() as u64);
                self.tick(asked, told);
            }
            SequenceEvent::Ended {
                number, completion, ..
            } => {
                let asked = requests[number as usize].0;
                if let Some(question) = asked.question {
                    self.answer(asked, &self.exam.questions[question], completion)?;
                    self.tick(asked, told);
                }
            }
            SequenceEvent::Failed { number, error, .. } => {
                let asked = requests[number as usize].0;
                return Err(match error {
                    GenerateError::NotFinite { cause, .. } => ExamError::NotFinite {
                        row: self.exam.places[asked.example].clone(),
                        cause,
                    },
                    error => error.into(),
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn answer(
        &mut self,
        asked: Asked,
        question: &Question,
        completion: Completion,
    ) -> Result<(), ExamError> {
        let text = self.renderer.tokenizer().decode(&completion.ids, true)?;
        let judged = &mut self.papers[asked.candidate][asked.example].judged;
        if question.is_scored {
            let exact = exact_match(&question.reference, &text, self.rules.exact);
            judged.score.exact_match = Some(exact);
            judged.score.rouge_l = Some(rouge_l(&question.reference, &text).f);
        }
        judged.answer = Some(Answer {
            asked: question.asked.clone(),
            text,
            reference: question.reference.clone(),
            stop: completion.stop,
        });
        Ok(())
    }

    fn tick(&mut self, asked: Asked, told: &mut impl FnMut(Heard)) {
        let paper = &mut self.papers[asked.candidate][asked.example];
        paper.open -= 1;
        self.progress.done += 1;
        told(Heard {
            progress: self.progress,
            done: (paper.open == 0).then_some((asked.candidate, &paper.judged)),
        });
    }

    fn judged(self) -> Vec<Vec<Judged>> {
        let papers = self.papers.into_iter();
        papers
            .map(|own| own.into_iter().map(|paper| paper.judged).collect())
            .collect()
    }
}

/// A request for the loss of a row. Of a row that asks something, the question is what others may begin with.
fn scored(example: &Example, asked: Option<&Question>) -> Request {
    let supervised = example.supervised.iter().enumerate().skip(1);
    let scored: Vec<usize> = supervised
        .filter_map(|(at, is_supervised)| is_supervised.then_some(at))
        .collect();
    let first = scored.first().copied().unwrap_or(1);
    let asked = asked.map(|own| own.prompt.len());
    let begins = asked
        .filter(|len| *len < example.ids.len())
        .unwrap_or(first);
    let (prompt, continuation) = example.ids.split_at(begins);
    Request {
        continuation: continuation.to_vec(),
        scored,
        ..Request::new(prompt.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::exact::Rule;
    use hone_data::{Body, Record, Source};
    use hone_model::{AdapterFiles, BaseFormat, weights::BaseWeights};
    use hone_tensor::Device;
    use hone_text::{ChatTemplate, Conversation, Role, Tokenizer, Turn};
    use std::path::Path;

    const RULES: Rules = Rules {
        max_new_tokens: 8,
        slots: 3,
        exact: Rule::Strict,
        with_loss: true,
    };

    fn tiny() -> (Model, Renderer) {
        let dir =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models/tiny-llama-tied");
        let weights = BaseWeights::open(&dir).unwrap();
        let config = weights.file("tokenizer_config.json").unwrap().unwrap();
        let tokenizer = Tokenizer::from_json(&weights.tokenizer_json().unwrap().unwrap()).unwrap();
        let template = ChatTemplate::from_config(&config).unwrap();
        let renderer =
            Renderer::new(tokenizer.with_config(&config).unwrap(), template, &[]).unwrap();
        let device = Device::cpu(1).unwrap();
        (
            Model::load(&weights, &device, BaseFormat::Stored, 256).unwrap(),
            renderer,
        )
    }

    fn record(line: usize, body: Body) -> Record {
        Record {
            task: "talk".into(),
            group: None,
            origin: None,
            licence: None,
            copies: 1,
            body,
            source: Source::new("rows.jsonl", line),
        }
    }

    fn chat(line: usize, question: &str, reply: &str) -> Record {
        let turns = [
            Turn::new(Role::User, question),
            Turn::new(Role::Assistant, reply),
        ];
        record(line, Body::Chat(Conversation::new(turns)))
    }

    fn rows() -> Vec<Record> {
        let questions = [
            "Who are you?",
            "Count to three, please.",
            "Why?",
            "Say nothing at all.",
            "And then?",
        ];
        questions
            .iter()
            .enumerate()
            .map(|(line, question)| chat(line + 1, question, "Nobody knows."))
            .collect()
    }

    #[test]
    fn a_row_is_judged_alike_alone_and_among_others() {
        let (model, renderer) = tiny();
        let rows = rows();
        let together = Exam::set(&renderer, &rows, 256)
            .sit(&model, &renderer, &RULES, |_| ())
            .unwrap();
        for (at, row) in rows.iter().enumerate() {
            let exam = Exam::set(&renderer, std::slice::from_ref(row), 256);
            let alone = exam
                .sit(&model, &renderer, &RULES, |_| ())
                .unwrap()
                .remove(0);
            assert!(
                (alone.score.nats - together[at].score.nats).abs() < 1e-4,
                "row {at}"
            );
            assert_eq!(
                (alone.score.tokens, &alone.answer),
                (together[at].score.tokens, &together[at].answer)
            );
        }
    }

    /// The model with an adapter on it, in a directory of the fixtures.
    fn tuned() -> (Model, Renderer) {
        let (mut model, renderer) = tiny();
        let dir =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/adapters/tiny-llama-tied");
        let files = AdapterFiles::read(&dir).unwrap();
        let adapter = files.into_adapter(model.config(), model.device()).unwrap();
        model.add("tuned", adapter);
        (model, renderer)
    }

    #[test]
    fn models_side_by_side_make_of_it_what_each_makes_alone() {
        let (model, renderer) = tuned();
        let text = record(9, Body::Text("Some words to know by heart.".into()));
        let exam = Exam::set(&renderer, &[rows(), vec![text]].concat(), 256);
        let candidate = |adapters| Candidate {
            adapters,
            known: vec![],
        };
        let both = [Adapters::None, Adapters::Named("tuned".into())].map(candidate);
        let sit = |candidates: &[Candidate]| {
            let mut heard: Vec<(usize, Judged)> = Vec::new();
            let judged = exam
                .sit_together(&model, &renderer, &RULES, candidates, |told| {
                    heard.extend(told.done.map(|(who, judged)| (who, judged.clone())));
                })
                .unwrap();
            (judged, heard)
        };
        let (together, heard) = sit(&both);
        assert_ne!(together[0], together[1]);
        assert_eq!(heard.len(), 12);
        for (who, judged) in &heard {
            assert_eq!(judged, &together[*who][judged.score.row]);
        }
        for (own, candidate) in together.iter().zip(&both) {
            assert_eq!(own, &sit(std::slice::from_ref(candidate)).0[0]);
        }
        // What is known is not asked again, and stays what it was.
        let mut resumed = both.clone();
        resumed[0].known = together[0][..4].to_vec();
        resumed[1].known = together[1].clone();
        let (again, heard) = sit(&resumed);
        assert_eq!(again, together);
        assert_eq!(heard.len(), 2);
    }

    #[test]
    fn the_loss_of_a_row_is_that_of_training() {
        let (model, renderer) = tuned();
        let turns = ["Hi.", "Yes?", "Go on, then.", "Nobody knows."];
        let roles = [Role::User, Role::Assistant].into_iter().cycle();
        let turns = turns
            .into_iter()
            .zip(roles)
            .map(|(text, role)| Turn::new(role, text));
        let talk = record(1, Body::Chat(Conversation::new(turns)));
        let exam = Exam::set(&renderer, &[vec![talk], rows()].concat(), 256);
        let judged = exam.sit(&model, &renderer, &RULES, |_| ()).unwrap();
        for (judged, example) in judged.iter().zip(&exam.examples) {
            let batch = hone_data::within_budget(&[example], 4096).remove(0);
            let (rows, targets): (Vec<usize>, Vec<u32>) =
                batch.targets.iter().map(|t| (t.row, t.token)).unzip();
            let packed = hone_model::Packed {
                ids: &batch.ids,
                boundaries: &batch.boundaries,
                rows: &rows,
                targets: &targets,
                weights: None,
            };
            let want: f64 = model.nats(packed).unwrap().iter().sum();
            assert_eq!(judged.score.tokens as usize, targets.len());
            assert!((judged.score.nats - want).abs() < 1e-5 * want, "{want}");
        }
    }

    #[test]
    fn the_models_own_answer_is_an_exact_match() {
        let (model, renderer) = tiny();
        let first = Exam::set(&renderer, &rows(), 256)
            .sit(&model, &renderer, &RULES, |_| ())
            .unwrap();
        assert!(
            first.iter().all(|row| row.score.exact_match == Some(false)),
            "a random model knew the answer"
        );
        let answer = first[0].answer.as_ref().unwrap();
        let exam = Exam::set(&renderer, &[chat(1, "Who are you?", &answer.text)], 256);
        let score = exam
            .sit(&model, &renderer, &RULES, |_| ())
            .unwrap()
            .remove(0)
            .score;
        assert_eq!(score.exact_match, Some(true), "{answer:?}");
    }

    #[test]
    fn a_text_has_a_loss_and_no_answer() {
        let (model, renderer) = tiny();
        let exam = Exam::set(
            &renderer,
            &[record(1, Body::Text("Some words to know by heart.".into()))],
            256,
        );
        let judged = exam.sit(&model, &renderer, &RULES, |_| ()).unwrap();
        assert!(judged[0].score.nats > 0.0 && judged[0].score.tokens > 3);
        assert_eq!(
            (&judged[0].answer, judged[0].score.exact_match),
            (&None, None)
        );
    }

    #[test]
    fn a_text_is_continued_on_request_and_not_scored() {
        let (model, renderer) = tiny();
        let text = record(1, Body::Text("Some words to know by heart.".into()));
        let exam = Exam::set(&renderer, &[text, rows().remove(0)], 256);
        let exam = exam.with_continuations(&renderer).unwrap();
        let judged = exam.sit(&model, &renderer, &RULES, |_| ()).unwrap();
        let answer = judged[0].answer.as_ref().unwrap();
        assert_eq!(
            format!("{}{}", answer.asked, answer.reference),
            "Some words to know by heart."
        );
        assert_eq!(judged[0].score.rouge_l, None);
        assert_eq!(judged[1].answer.as_ref().unwrap().asked, "Who are you?");
    }

    #[test]
    fn answers_without_losses_are_the_same_answers() {
        let (model, renderer) = tiny();
        let exam = Exam::set(&renderer, &rows(), 256);
        let with = exam.sit(&model, &renderer, &RULES, |_| ()).unwrap();
        let quick = Rules {
            with_loss: false,
            ..RULES
        };
        let without = exam.sit(&model, &renderer, &quick, |_| ()).unwrap();
        for (with, without) in with.iter().zip(&without) {
            assert_eq!((without.score.tokens, &without.answer), (0, &with.answer));
            assert!(with.score.tokens > 0 && with.answer.is_some());
        }
    }

    #[test]
    fn rows_beyond_the_limit_are_refused_and_progress_reaches_its_total() {
        let (model, renderer) = tiny();
        let mut rows = rows();
        rows.push(chat(6, &"far too long ".repeat(60), "Indeed."));
        let exam = Exam::set(&renderer, &rows, 200);
        assert_eq!(
            (
                exam.num_rows(),
                exam.refused.len(),
                exam.refused[0].source.line
            ),
            (5, 1, 6)
        );
        let mut heard = Vec::new();
        exam.sit(&model, &renderer, &RULES, |progress| heard.push(progress))
            .unwrap();
        assert_eq!(
            heard.last(),
            Some(&Progress {
                done: 10,
                total: 10
            })
        );
    }
}
