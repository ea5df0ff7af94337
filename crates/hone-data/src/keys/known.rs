//! The keys that are known, what becomes of each and why: `docs/rows.md` is made from these tables.

use serde_json::Value;

use super::judges::is_bad;
use super::{holds_something, refusal, truth};

/// What becomes of a key that its row or turn does not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It says nothing about the text; its name is told once for each file.
    Listed,
    /// It may change what the row means, so the row is refused by the key's name.
    Refused,
    /// It asks for something that is not done: refused unless it says no.
    RefusedUnlessNo,
    /// It weighs the row: refused unless it says 1.
    RefusedUnlessOne,
    /// It judges the row: refused if it says that the row is bad.
    RefusedIfBad,
}

impl Fate {
    /// Does a key with this value refuse its row?
    pub(super) fn refuses(self, value: &Value) -> bool {
        match self {
            Self::Listed => false,
            Self::Refused => true,
            Self::RefusedUnlessNo => truth(value) != Some(false),
            Self::RefusedUnlessOne => truth(value) != Some(true),
            Self::RefusedIfBad => is_bad(value),
        }
    }
}

/// Keys that are known, and why they are treated as they are.
#[derive(Clone, Copy, Debug)]
pub struct KnownKeys {
    /// Their names.
    pub names: &'static [&'static str],
    /// What becomes of them.
    pub fate: Fate,
    /// What they say, and for refused ones what is missing; completes "`key` …".
    pub what: &'static str,
}

/// How many names of keys are remembered of a file, to find what a misspelt one meant.
pub(crate) const MOST_NAMES: usize = 1000;

/// The longest text, in characters, that an unknown key may hold and still be harmless.
pub const MAX_HARMLESS_CHARS: usize = 100;

const MEDIA: KnownKeys = KnownKeys {
    names: &[
        "image",
        "images",
        "audio",
        "audios",
        "video",
        "videos",
        "objects",
        "pixel_values",
        "image_url",
        "input_audio",
    ],
    fate: Fate::Refused,
    what: "holds pictures, sounds or videos, which are not read",
};

const BY_TOKEN: KnownKeys = KnownKeys {
    names: &[
        "labels",
        "mask",
        "loss_mask",
        "completion_mask",
        "assistant_masks",
        "token_weights",
        "train_detail",
        "training_detail",
    ],
    fate: Fate::Refused,
    what: "masks or weighs tokens; training weights by token are not there yet, write `weight`: 0 or 1 beside a turn",
};

const ORDERS: KnownKeys = KnownKeys {
    names: &[
        "skip",
        "ignore",
        "exclude",
        "deleted",
        "is_deleted",
        "mask_history",
        "train_on_input",
        "train_on_inputs",
        "train_last_only",
    ],
    fate: Fate::RefusedUnlessNo,
    what: "says what is not to be trained on or what else is, and is not obeyed; write `weight`: 0 or 1 beside a turn",
};

const SAMPLE_WEIGHTS: KnownKeys = KnownKeys {
    names: &["sample_weight", "example_weight", "weights"],
    fate: Fate::RefusedUnlessOne,
    what: "weighs the row; training weights other than 1 are not there yet",
};

const JUDGEMENTS: KnownKeys = KnownKeys {
    names: &[
        "approved",
        "is_approved",
        "accepted",
        "correct",
        "is_correct",
        "valid",
        "is_valid",
        "status",
        "feedback",
        "rating",
        "ratings",
        "reward",
        "score",
        "quality",
    ],
    fate: Fate::RefusedIfBad,
    what: "says that the row is bad, and a bad row is not to be trained on",
};

/// Keys of a row that no shape uses, or not every shape.
pub const ROW_KEYS: &[KnownKeys] = &[
    MEDIA,
    BY_TOKEN,
    ORDERS,
    SAMPLE_WEIGHTS,
    JUDGEMENTS,
    KnownKeys {
        names: &["completions", "steps"],
        fate: Fate::Refused,
        what: "holds steps or several answers with a label each (stepwise supervision); nothing trains on them yet",
    },
    KnownKeys {
        names: &["rollouts", "generations", "responses", "candidates"],
        fate: Fate::Refused,
        what: "holds several answers to one prompt; nothing trains on them yet",
    },
    KnownKeys {
        names: &["segments"],
        fate: Fate::Refused,
        what: "holds text in segments with a label each (Axolotl's input_output); write `messages` with `weight`: 0 or 1",
    },
    KnownKeys {
        names: &[
            "chat_template_kwargs",
            "template_kwargs",
            "enable_thinking",
            "thinking_mode",
            "reasoning_effort",
        ],
        fate: Fate::Refused,
        what: "is an argument of the chat template for one row, which is not passed on yet; --template-option is for all rows",
    },
    KnownKeys {
        names: &["documents"],
        fate: Fate::Refused,
        what: "is an argument of the chat template for one row, which is not passed on yet",
    },
    KnownKeys {
        names: &[
            "chosen",
            "rejected",
            "rejected_response",
            "rejected_message",
            "rejected_messages",
        ],
        fate: Fate::Refused,
        what: "is one half of a preference pair, and the other half is missing",
    },
    KnownKeys {
        names: &[
            "reasoning_content",
            "thinking",
            "reasoning",
            "thought",
            "thoughts",
            "cot",
            "chain_of_thought",
            "rationale",
            "think",
        ],
        fate: Fate::Refused,
        what: "is reasoning; write it as `reasoning_content` beside the `content` of its turn, or beside a completion",
    },
    KnownKeys {
        names: &["tools", "functions"],
        fate: Fate::Refused,
        what: "names tools, which a text that is trained on whole cannot have",
    },
    KnownKeys {
        names: &[
            "messages",
            "conversations",
            "conversation",
            "prompt",
            "completion",
            "instruction",
            "input",
            "output",
            "response",
            "text",
            "history",
            "system",
            "system_prompt",
            "query",
            "question",
            "answer",
            "answers",
            "context",
            "passage",
            "document",
            "article",
            "paragraph",
            "background",
            "knowledge",
            "evidence",
            "choices",
            "options",
            "hint",
            "explanation",
            "solution",
            "problem",
            "reflection",
            "corrected",
            "revision",
            "critique",
            "critiques",
            "summary",
            "target",
            "targets",
            "references",
            "prefix",
            "suffix",
            "demonstrations",
            "examples",
            "persona",
            "character",
            "system_message",
            "instructions",
            "prompt_prefix",
            "prompt_suffix",
        ],
        fate: Fate::Refused,
        what: "is no part of rows of this shape, and may belong to the prompt or to the reply",
    },
    KnownKeys {
        names: &[
            "source",
            "sources",
            "scores",
            "score_chosen",
            "score_rejected",
            "url",
            "urls",
            "uid",
            "uuid",
            "ids",
            "idx",
            "index",
            "prompt_id",
            "message_id",
            "conversation_id",
            "user_id",
            "hash",
            "timestamp",
            "created",
            "created_at",
            "updated_at",
            "date",
            "time",
            "language",
            "lang",
            "category",
            "categories",
            "subcategory",
            "topic",
            "topics",
            "tag",
            "tags",
            "difficulty",
            "author",
            "annotator",
            "annotations",
            "model",
            "models",
            "model_name",
            "generator",
            "dataset",
            "dataset_name",
            "split",
            "version",
            "meta",
            "metadata",
            "extra_info",
            "channel",
            "num_turns",
            "num_tokens",
            "length",
            "embedding",
            "embeddings",
            "input_ids",
            "attention_mask",
            "token_type_ids",
            "position_ids",
            "parallel_tool_calls",
            "toxic",
            "redacted",
            "openai_moderation",
            "__index_level_0__",
        ],
        fate: Fate::Listed,
        what: "says where the row comes from or how it was rated",
    },
];

/// Keys of a file beside its list of rows, before those of rows.
const FILE_KEYS: &[&str] = &[
    "info",
    "name",
    "title",
    "description",
    "citation",
    "homepage",
    "licence",
    "licenses",
    "features",
    "count",
    "total",
    "num_rows",
    "num_examples",
    "created_by",
];

/// Why a key beside a file's list of rows refuses the file: it may say something about every row. `None` if it is
/// harmless.
pub(crate) fn refusal_of_file(key: &str, value: &Value) -> Option<&'static str> {
    let is_harmless = FILE_KEYS.contains(&key) || !holds_something(value);
    let refused = (!is_harmless).then(|| refusal(ROW_KEYS, key, value, || false));
    refused.flatten()
}

/// Keys of a turn that are not part of it.
pub const TURN_KEYS: &[KnownKeys] = &[
    MEDIA,
    BY_TOKEN,
    ORDERS,
    SAMPLE_WEIGHTS,
    JUDGEMENTS,
    KnownKeys {
        names: &["channel", "recipient"],
        fate: Fate::Refused,
        what: "sends the text to somebody else than the user; write reasoning as `reasoning_content` and calls as `tool_calls`",
    },
    KnownKeys {
        names: &[
            "thought",
            "thoughts",
            "cot",
            "chain_of_thought",
            "rationale",
            "think",
        ],
        fate: Fate::Refused,
        what: "is reasoning; write it as `reasoning_content` beside the `content`",
    },
    KnownKeys {
        names: &["prefix", "partial"],
        fate: Fate::RefusedUnlessNo,
        what: "says that the reply goes on, and every reply that is trained on ends",
    },
    KnownKeys {
        names: &["end_turn", "eot"],
        fate: Fate::RefusedUnlessOne,
        what: "says whether the reply ends, and every reply that is trained on does",
    },
    KnownKeys {
        names: &["refusal"],
        fate: Fate::Refused,
        what: "is a refusal beside the content; write it as the content",
    },
    KnownKeys {
        names: &["label", "chosen", "rejected", "rejected_response"],
        fate: Fate::Refused,
        what: "judges one turn, and nothing trains on that yet; write `weight`: 0 for a turn that is context only",
    },
    KnownKeys {
        names: &["tools", "functions", "documents", "system"],
        fate: Fate::Refused,
        what: "belongs beside the turns, not into one",
    },
    KnownKeys {
        names: &[
            "id",
            "message_id",
            "parent_id",
            "index",
            "turn",
            "timestamp",
            "created",
            "created_at",
            "date",
            "model",
            "language",
            "name",
            "tool_call_id",
            "finish_reason",
            "stop_reason",
            "usage",
            "logprobs",
            "source",
            "hash",
            "annotations",
            "cache_control",
            "citations",
            "metadata",
            "redacted",
            "toxic",
            "openai_moderation",
            "detoxify_moderation",
            "country",
            "state",
            "hashed_ip",
            "header",
        ],
        fate: Fate::Listed,
        what: "says where the turn comes from, and is not shown to the model (`name` and `tool_call_id` are, on a tool's turn)",
    },
];
