//! A server that speaks OpenAI's chat completions, as llama.cpp, vLLM, Ollama and the vendors' do.

use hone_ledger::words::without_credentials;
use serde_json::{Value, json};
use std::fmt;
use std::io::Read;
use std::time::Duration;
use ureq::Agent;

/// A server, the model to ask of it, and who we are to it.
pub struct Endpoint {
    agent: Agent,
    address: String,
    model: String,
    key: Option<String>,
    timeout: Duration,
    tries: u32,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &without_credentials(&self.address))
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// What the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// The reply.
    pub text: String,
    /// Tokens of question and reply, as the server counts them; by length where it does not say.
    pub tokens: u64,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address is none.
    #[error("{address} is no address of a server: it begins with http:// or https://")]
    Address {
        /// As it was given.
        address: String,
    },
    /// It says no.
    #[error("the judge at {address} answered {status}{why}")]
    Refused {
        /// Where it is.
        address: String,
        /// The HTTP status.
        status: u16,
        /// Its own words, if it has some.
        why: String,
    },
    /// It does not answer, or too late.
    #[error("the judge at {address} gives no answer: {why}")]
    Silent {
        /// Where it is.
        address: String,
        /// What happened.
        why: String,
    },
    /// What it says is no chat completion.
    #[error("the judge at {address} answers with what is no chat completion: {why}")]
    Garbage {
        /// Where it is.
        address: String,
        /// What is wrong.
        why: String,
    },
}

impl EndpointError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        vec![match self {
            Self::Address { .. } => "an example: --endpoint http://127.0.0.1:8080/v1".into(),
            Self::Refused { status: 401 | 403, .. } => {
                "the key is read from the variable that --key-variable names, OPENAI_API_KEY if nothing is said".into()
            }
            Self::Refused { status: 404, .. } => {
                "the address ends before /chat/completions, mostly with /v1; --judge names a model that the server has".into()
            }
            Self::Refused { .. } => "wait, and run the same command again: what was judged is kept".into(),
            Self::Silent { .. } => {
                "look whether the server runs; --timeout gives it longer, and what was judged is kept".into()
            }
            Self::Garbage { .. } => {
                "the server has to speak OpenAI's /v1/chat/completions; what was judged is kept".into()
            }
        }]
    }

    /// Whether the same question may be answered a moment later.
    fn may_pass(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::Silent { .. } | Self::Garbage { .. } => true,
            Self::Address { .. } => false,
        }
    }
}

/// A reply longer than this is none.
const MOST_BYTES: u64 = 4 << 20;
/// A server that asks for a longer pause is asked again after this all the same.
const LONGEST_WAIT_SECONDS: u64 = 60;
/// The longest reply that is asked for, in tokens.
const REPLY_TOKENS: u32 = 1024;
/// A token has about so many bytes.
const TOKEN_BYTES: u64 = 4;

impl Endpoint {
    /// A server by its address, which ends before `/chat/completions`.
    ///
    /// # Errors
    /// What is no address.
    pub fn new(
        address: &str,
        model: &str,
        key: Option<String>,
        timeout: Duration,
        tries: u32,
    ) -> Result<Self, EndpointError> {
        let is_address = ["http://", "https://"]
            .iter()
            .any(|scheme| address.starts_with(scheme));
        if !is_address {
            let address = address.to_owned();
            return Err(EndpointError::Address { address });
        }
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .build();
        Ok(Self {
            agent: config.into(),
            address: address.trim_end_matches('/').to_owned(),
            model: model.to_owned(),
            key,
            timeout,
            tries: tries.max(1),
        })
    }

    /// Where it is and whom it asks, without credentials.
    pub fn name(&self) -> String {
        format!("{} at {}", self.model, without_credentials(&self.address))
    }

    /// What is asked, as it goes over the wire.
    pub fn question(&self, [system, user]: &[String; 2]) -> Value {
        json!({
            "model": self.model,
            "messages": [
                { "role": "system", "content": system },
                { "role": "user", "content": user },
            ],
            "temperature": 0,
            "max_tokens": REPLY_TOKENS,
        })
    }

    /// The most tokens that a question and its reply can come to, by length.
    pub fn most_tokens(question: &Value) -> u64 {
        question.to_string().len() as u64 / TOKEN_BYTES + u64::from(REPLY_TOKENS)
    }

    /// Asks, several times if it must be; `paused` hears why it waits.
    ///
    /// # Errors
    /// The last reason, after all tries, or the first that no waiting mends.
    pub fn ask(
        &self,
        question: &Value,
        mut paused: impl FnMut(&EndpointError, Duration),
    ) -> Result<Spoken, EndpointError> {
        let mut tried = 1;
        loop {
            let (error, wait) = match self.once(question) {
                Ok(spoken) => return Ok(spoken),
                Err(failed) => failed,
            };
            if tried == self.tries || !error.may_pass() {
                return Err(error);
            }
            let pause = match wait {
                Some(seconds) => Duration::from_secs(seconds.min(LONGEST_WAIT_SECONDS)),
                None => Duration::from_millis(500 << tried.min(6)),
            };
            paused(&error, pause);
            std::thread::sleep(pause);
            tried += 1;
        }
    }

    /// Asks once; with an error, how long the server asks to be left alone.
    fn once(&self, question: &Value) -> Result<Spoken, (EndpointError, Option<u64>)> {
        let address = without_credentials(&self.address);
        let silent = |error: ureq::Error| {
            let why = match error {
                ureq::Error::Timeout(_) => format!("nothing came within {:?}", self.timeout),
                error => without_credentials(&error.to_string()),
            };
            let address = address.clone();
            (EndpointError::Silent { address, why }, None)
        };
        let garbage = |why: String| {
            let address = address.clone();
            (EndpointError::Garbage { address, why }, None)
        };
        let text = question.to_string();
        let request = self
            .agent
            .post(format!("{}/chat/completions", self.address));
        let mut request = request.header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(text.as_bytes()).map_err(silent)?;
        let status = response.status().as_u16();
        let wait = response.headers().get("retry-after");
        let wait = wait.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut body = Vec::new();
        let reader = response.body_mut().as_reader().take(MOST_BYTES + 1);
        let read = { reader }.read_to_end(&mut body);
        read.map_err(|error| silent(ureq::Error::from(error)))?;
        if body.len() as u64 > MOST_BYTES {
            return Err(garbage(format!("it is longer than {MOST_BYTES} bytes")));
        }
        let parsed: Result<Value, _> = serde_json::from_slice(&body);
        if status != 200 {
            let said = parsed.ok();
            let said = said
                .as_ref()
                .and_then(|said| said["error"]["message"].as_str());
            let said = said.map(|said| hone_ledger::words::shortened_to(said, 200).into_owned());
            let why = said.map_or_else(String::new, |said| format!(": {said}"));
            let error = EndpointError::Refused {
                address: address.clone(),
                status,
                why,
            };
            return Err((error, wait));
        }
        let said = parsed.map_err(|error| garbage(error.to_string()))?;
        let text = said["choices"][0]["message"]["content"].as_str();
        let text = text.ok_or_else(|| garbage("it has no choices[0].message.content".into()))?;
        let by_length = (question.to_string().len() + text.len()) as u64 / TOKEN_BYTES;
        Ok(Spoken {
            text: text.to_owned(),
            tokens: said["usage"]["total_tokens"].as_u64().unwrap_or(by_length),
        })
    }
}
