//! The page about rows, made from the tables that reading follows: `docs/rows.md`.

use crate::keys::{LABELS, MASKS, VERDICTS, WEIGHTS};
use crate::turn::REASONING;
use crate::{Fate, Field, KnownKeys, MAX_HARMLESS_CHARS, ROW_KEYS, Shape, TURN_KEYS};

/// What becomes of every key of every shape of row, in Markdown.
pub fn rows() -> String {
    let mut page = format!(
        "# Rows\n\nWhat becomes of each key of a row; made from the code that reads them. A key is used, or it is harmless and listed once \
         for each file (`other keys, not used: …`), or the row is refused by the key's name. Keys that hold nothing (null, \
         an empty text, list or object) are as if they were not there.\n\nThe shape of a row is told by its keys; the first \
         of these that fits is taken:\n\n{}",
        Shape::ALL
            .map(|shape| format!("- {}\n", shape.description()))
            .concat(),
    );
    for shape in Shape::ALL {
        page += &format!(
            "\n## {}\n\n| key | | what it becomes |\n|---|---|---|\n",
            capital(&shape.to_string())
        );
        page += &shape.fields().iter().map(row_of).collect::<String>();
    }
    page += &format!(
        "\n## Every shape\n\n{} say something about the row and are kept with it (`id` is the group where no `group` is given).\n\n\
         `kto_tag` and `label` say that the last reply is good (true, 1) or bad (false, 0): the row is kept as an unpaired preference, \
         and nothing trains on them yet. A `label` that is another short text is a class and is listed, unless it is a word that judges \
         ({}) and that the row's texts do not hold; every other label refuses the row.\n\n\
         {} with 1 or true change nothing; with 0 or false the row is not trained on and is refused with that reason. {} says the opposite. \
         Weights between 0 and 1 are refused.\n\n| keys that the shape does not use | what becomes of them | because each of them |\n|---|---|---|\n",
        names(&LABELS),
        names(VERDICTS),
        names(WEIGHTS),
        names(MASKS),
    );
    page += &ROW_KEYS.iter().map(known_row).collect::<String>();
    page += &format!(
        "| any other | listed if all its texts together have at most {MAX_HARMLESS_CHARS} characters in one line and name no file with a picture, a sound or a video, else the row is refused | may belong to the prompt or to the reply |\n\n\
         A key that only repeats a text of the row, or that holds all of the row's texts (the row rendered), is listed whatever its name.\n\n\
         A key that is not known and whose name has a word that judges (`is_good`, `flagged`) or speaks of training (`use_for_training`, `loss_mask_2`) refuses the row where its value says no, or for training \
         whatever number or truth it is; so does a word such as `rejected` or `bad` under any name, unless the row's texts hold it. In turns, too.\n\n\
         A text with `<image>`, `<audio>` or `<video>`, also as `<image_1>`, `<|image_1|>`, `<|image_pad|>` or `<img>FILE</img>`, beside a key `images`, `audios` or `videos` refuses the row, even if that key is empty. Without such a key a row is refused whose \
         prompt shows one of them outside code and without a closing tag, or whose reply or text begins with one or has it alone in a line: LLaMA-Factory, ms-swift and LLaVA put a \
         picture, a sound or a video there. `--ignore-key '<image>'` trains on such a text as it stands.\n\n\
         A key that is not known and that could be passed over in some rows of a file and refuses others is one question about the file: the file is refused until \
         `--ignore-key` passes over the key in all rows or `--column` reads it.\n"
    );
    page += &format!(
        "\n## Turns\n\nTurns stand in `messages`, `conversations`, `history`, and in `prompt`, `completion`, `chosen` and `rejected` where these are lists. \
         Each may be written as `role` and `content`, as `from` and `value`, or as a pair of `human` (`user`) and `assistant` (`gpt`, `bot`).\n\n\
         | key | | what it becomes |\n|---|---|---|\n\
         | `role`, `from` | needed | who speaks: system (developer), user (human, prompter), assistant (gpt, chatgpt, model, bot), tool (observation, function, function_response, tool_response, ipython); function_call and tool_call are turns of the assistant whose content is a call, written as JSON |\n\
         | `content`, `value` | needed | what is said: a text, or a list of parts of type `text`; parts of other types refuse the row. May be null where tools are called |\n\
         | {} | | what the assistant thinks before it answers; trained on with the reply, visible to the chat template under the one of these names that it reads |\n\
         | `tool_calls`, `function_call` | | the calls of the assistant; arguments as an object or as JSON text |\n\
         | `name`, `tool_call_id` | | on a tool's turn: who answers what |\n\
         | {} | | 0 or false: the turn is context and not trained on; 1 or true: it is trained on. Between 0 and 1, and 1 on a turn that is not the assistant's: refused |\n\
         | {} | | the opposite |\n\n\
         | other keys of a turn | what becomes of them | because each of them |\n|---|---|---|\n",
        names(REASONING),
        names(WEIGHTS),
        names(MASKS),
    );
    page += &TURN_KEYS.iter().map(known_row).collect::<String>();
    page += &format!(
        "| any other | listed if all its texts together have at most {MAX_HARMLESS_CHARS} characters in one line and name no file with a picture, a sound or a video, else the row is refused | may belong to what is said |\n"
    );
    page += NULLS_AND_FLAGS;
    page
}

const NULLS_AND_FLAGS: &str = "
## Null properties

A table (Parquet, Arrow) has the same fields in every row, so a call in it has the arguments of all calls, most of them null. In rows
read from such a file null properties are left out. In JSON nobody can tell padding from what was meant: a row with a null property in the
arguments of a call or in the schema of a tool is refused, until `--nulls drop` or `--nulls keep` says what they are (`nulls = \"drop\"` beside
`files` in a recipe). Arguments and schemas that are JSON in a text were never part of a table, and `default` and `const` of a schema may be null
by themselves: these are kept.

## To decide otherwise

- `--column FIELD=KEY` reads a key under another name: `--column prompt=question`, `--column reasoning=cot`. Files that lack the key are read as they are; a key that no file has is refused.
- `--ignore-key KEY` passes over a key whatever it holds, `--ignore-key turn.KEY` over a key of turns; `ignore-keys = [\"KEY\"]` beside `files` in a recipe. A key that no row has is refused, with the one that is probably meant.
";

fn row_of(field: &Field) -> String {
    let need = if field.is_needed { "needed" } else { "" };
    format!("| {} | {need} | {} |\n", names(field.names), field.what)
}

fn known_row(known: &KnownKeys) -> String {
    let fate = match known.fate {
        Fate::Listed => "listed",
        Fate::Refused => "the row is refused",
        Fate::RefusedUnlessNo => "the row is refused, unless it is false or 0",
        Fate::RefusedUnlessOne => "the row is refused, unless it is 1 or true",
        Fate::RefusedIfBad => {
            "the row is refused if it is false, 0, negative or a word such as `rejected`, `wrong` or `thumbs_down`; else listed"
        }
    };
    format!("| {} | {fate} | {} |\n", names(known.names), known.what)
}

fn names(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters
        .next()
        .map(|first| first.to_uppercase().collect::<String>());
    first.unwrap_or_default() + letters.as_str()
}
