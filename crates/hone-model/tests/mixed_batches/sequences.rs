//! Sequences that are generated together say, to the bit, what each says alone.

use std::collections::BTreeMap;

use hone_ledger::Seed;
use hone_model::{
    Adapters, BaseFormat, Completion, Engine, EngineLimits, GenerateError, Generation, Model,
    Packed, Request, Sampling, SequenceEvent, Stop, Targets,
};

use super::{adapters, lora, model};

const PATH: &str = "models/tiny-llama-bias";

/// What an engine told of a sequence.
#[derive(Debug, Default, PartialEq)]
struct Told {
    nats: Vec<u64>,
    said: Vec<(u32, u64)>,
    end: Option<Completion>,
}

fn run(engine: &mut Engine) -> BTreeMap<u64, Told> {
    let mut told: BTreeMap<u64, Told> = BTreeMap::new();
    while !engine.is_idle() {
        for event in engine.step().unwrap() {
            match event {
                SequenceEvent::Scored { number, nats, .. } => {
                    told.entry(number).or_default().nats =
                        nats.iter().map(|nats| nats.to_bits()).collect();
                }
                SequenceEvent::Said {
                    number,
                    token,
                    log_probability,
                    ..
                } => {
                    let said = &mut told.entry(number).or_default().said;
                    said.push((token, log_probability.unwrap().to_bits()));
                }
                SequenceEvent::Ended {
                    number, completion, ..
                } => told.entry(number).or_default().end = Some(completion),
                event => panic!("{event:?}"),
            }
        }
    }
    told
}

fn together(model: &Model, limits: EngineLimits, requests: &[Request]) -> BTreeMap<u64, Told> {
    let mut engine = Engine::new(model, limits);
    for request in requests {
        engine.add(request.clone()).unwrap();
    }
    run(&mut engine)
}

/// Prompts of 1 to 53 tokens that begin alike in four ways, some scored, some sampled, through each adapter and none.
fn requests(names: &[&str]) -> Vec<Request> {
    let mut stream = Seed::new(3).stream();
    let mut ids =
        |count: usize| -> Vec<u32> { (0..count).map(|_| stream.below(250) as u32).collect() };
    let beginnings: Vec<Vec<u32>> = [0, 21, 33, 48].into_iter().map(&mut ids).collect();
    let request = |number: usize| {
        let end = ids(1 + number % 5);
        let prompt = [&beginnings[number / 2 % 4][..], &end].concat();
        let name = names.get(number % (names.len() + 1));
        let temperature = f32::from(number.is_multiple_of(3));
        let continuation = ids(number % 4 * 2);
        let first = prompt.len() - usize::from(number % 8 == 7 && prompt.len() > 20) * 3;
        let end = prompt.len() + continuation.len();
        Request {
            scored: (first..end).skip(usize::from(number % 8 == 5)).collect(),
            prompt,
            continuation,
            adapters: name.map_or(Adapters::None, |name| Adapters::Named((*name).into())),
            generation: Generation {
                max_new_tokens: number % 7,
                stop_ids: vec![],
                sampling: Sampling {
                    temperature,
                    ..Sampling::GREEDY
                },
            },
            log_probabilities: true,
            number: number as u64,
        }
    };
    (0..40).map(request).collect()
}

const LIMITS: EngineLimits = EngineLimits {
    sequences: 9,
    tokens: 64,
    remembered: 128,
    beginning: 1,
};

#[test]
fn a_sequence_says_the_same_alone_and_in_any_company() {
    let adapters = adapters();
    let names: Vec<&str> = adapters.iter().map(|(name, _)| *name).collect();
    for threads in [1, 2] {
        let model = model(PATH, BaseFormat::Stored, threads, &adapters);
        let requests = requests(&names);
        let alone_limits = EngineLimits {
            sequences: 1,
            tokens: 512,
            remembered: 0,
            beginning: 1,
        };
        let alone = requests
            .iter()
            .map(|request| together(&model, alone_limits, std::slice::from_ref(request)));
        let alone: BTreeMap<u64, Told> = alone.flatten().collect();
        assert_eq!(alone.len(), 40);
        assert!(alone.values().any(|told| told.said.len() > 3));
        for limits in [
            LIMITS,
            EngineLimits {
                sequences: 40,
                tokens: 512,
                beginning: 10,
                ..LIMITS
            },
            EngineLimits {
                tokens: 10,
                remembered: 32,
                ..LIMITS
            },
        ] {
            let all = together(&model, limits, &requests);
            for (number, told) in &all {
                assert_eq!(told, &alone[number], "{number} of {limits:?}");
            }
            assert_eq!(all.len(), alone.len());
        }
        let backwards: Vec<Request> = requests.iter().rev().cloned().collect();
        assert_eq!(together(&model, LIMITS, &backwards), alone);
    }
}

#[test]
fn what_is_scored_is_the_loss_and_leaves_what_is_generated_alone() {
    let adapters = adapters();
    let names: Vec<&str> = adapters.iter().map(|(name, _)| *name).collect();
    let model = model(PATH, BaseFormat::Stored, 1, &adapters);
    let requests = requests(&names);
    let scored = together(&model, LIMITS, &requests);
    let unscored: Vec<Request> = requests
        .iter()
        .map(|request| Request {
            scored: vec![],
            ..request.clone()
        })
        .collect();
    for (number, told) in together(&model, LIMITS, &unscored) {
        assert_eq!(told.said, scored[&number].said, "{number}");
        assert_eq!(told.end, scored[&number].end, "{number}");
    }
    for request in requests.iter().filter(|request| !request.scored.is_empty()) {
        let ids = [&request.prompt[..], &request.continuation].concat();
        let batch = Packed {
            ids: &ids,
            boundaries: &[0, ids.len()],
            rows: &request
                .scored
                .iter()
                .map(|place| place - 1)
                .collect::<Vec<_>>(),
            targets: &request
                .scored
                .iter()
                .map(|place| ids[*place])
                .collect::<Vec<_>>(),
            weights: None,
        };
        let name = match &request.adapters {
            Adapters::Named(name) => Some(name.as_str()),
            _ => None,
        };
        let want = model.nats_with(batch, &[name]).unwrap();
        let nats = &scored[&request.number].nats;
        assert_eq!(nats.len(), want.len());
        for (nats, want) in nats.iter().zip(want) {
            let nats = f64::from_bits(*nats);
            assert!(
                (nats - want).abs() < 1e-5,
                "{}: {nats}, {want}",
                request.number
            );
        }
    }
}

#[test]
fn a_sequence_can_leave_and_another_come_at_any_time() {
    let model = model(PATH, BaseFormat::Stored, 1, &adapters());
    let requests = requests(&["rank two", "dora"]);
    let longest = |request: &&Request| request.generation.max_new_tokens == 6;
    let [first, second, third] = requests.iter().filter(longest).take(3).collect::<Vec<_>>()[..]
    else {
        panic!("three requests")
    };
    let mut engine = Engine::new(&model, LIMITS);
    let gone = engine.add(first.clone()).unwrap();
    engine.add(second.clone()).unwrap();
    engine.step().unwrap();
    assert!(engine.remove(gone) && !engine.remove(gone));
    engine.step().unwrap();
    let waiting = engine.add(first.clone()).unwrap();
    assert!(engine.remove(waiting));
    engine.add(third.clone()).unwrap();
    let told = run(&mut engine);
    let want = together(&model, LIMITS, std::slice::from_ref(third));
    assert_eq!(told[&third.number], want[&third.number]);
    assert!(!told.contains_key(&first.number));
    assert!(told[&second.number].end.is_some());
}

#[test]
fn a_request_of_nothing_ends_at_once_and_what_cannot_be_continued_is_refused() {
    let experts = [(
        "experts",
        lora("q_proj", 2, |c| c.targets = Targets::parse("embed_tokens")),
    )];
    let model = model(PATH, BaseFormat::Stored, 1, &experts);
    let mut engine = Engine::new(&model, LIMITS);
    engine.add(Request::new(vec![1, 2])).unwrap();
    let end = run(&mut engine).remove(&0).unwrap().end.unwrap();
    assert_eq!((end.ids, end.stop), (vec![], Stop::Length));

    let refused = |engine: &mut Engine, request: Request| {
        let error = engine.add(request).unwrap_err();
        assert!(!matches!(error, GenerateError::Tensor(_)));
        error.to_string()
    };
    let none = refused(&mut engine, Request::new(vec![]));
    assert!(none.contains("no tokens"), "{none}");
    let long = Request {
        continuation: vec![1; 60],
        ..Request::new(vec![1; 10])
    };
    let long = refused(&mut engine, long);
    assert!(long.contains("70 tokens"), "{long}");
    for scored in [vec![0], vec![2], vec![1, 1]] {
        let place = Request {
            scored,
            ..Request::new(vec![1, 2])
        };
        let place = refused(&mut engine, place);
        assert!(place.contains("cannot be scored"), "{place}");
    }
    let named = |name: &str| Request {
        adapters: Adapters::Named(name.into()),
        continuation: vec![1],
        scored: vec![1],
        ..Request::new(vec![1])
    };
    let unknown = refused(&mut engine, named("other"));
    assert!(unknown.contains("no adapter `other`"), "{unknown}");
    // What changes the embedding of all rows of a batch has an engine of its own.
    engine.add(named("experts")).unwrap();
    let base = Request {
        adapters: Adapters::None,
        continuation: vec![1],
        scored: vec![1],
        ..Request::new(vec![1])
    };
    let mixed = refused(&mut engine, base.clone());
    assert!(mixed.contains("does not mix"), "{mixed}");
    run(&mut engine);
    engine.add(base).unwrap();
    run(&mut engine);
}
