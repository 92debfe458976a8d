use super::{
    body::{Dialect, body, path},
    patience::{Patience, asked_wait},
    reply::{Hopeless, Trouble, completion, no_reply, trouble},
    server::Server,
};
use crate::domain::{
    Failure, FailureClass, Generated, GenerationEvent, GenerationRequest, GenerationSettings,
    Generator, ModelSpec,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError, bounded, unbounded};
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    convert::Infallible,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant, SystemTime},
};
use ureq::{
    Agent,
    http::header::{AUTHORIZATION, CONTENT_TYPE},
};

/// Requests at once, whatever the batch size.
const MOST_THREADS: usize = 64;

/// Requests at once when the study leaves the batch size to the program.
const AUTO_BATCH: usize = 16;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// While a server has asked to wait, a sign of life is given this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// No reply that is worth reading is longer.
const LONGEST_REPLY: u64 = 16 << 20;

/// A model on a server that speaks OpenAI's API.
#[derive(Debug)]
pub struct OpenAi {
    name: String,
    server: Server,
    agent: Agent,
    patience: Patience,
    dialect: Dialect,
    /// The server has said something, whatever it was.
    reached: AtomicBool,
    /// A prompt was completed since the model was loaded.
    answered: bool,
    /// Requests at once.
    concurrency: usize,
    /// Requests that wait because the server asked for it.
    pausing: AtomicUsize,
}

/// How a request ended.
enum Ending {
    Done(Generated),
    Trouble {
        trouble: Trouble,
        /// Times that it was sent.
        tries: u32,
    },
    /// Another request's trouble is the whole batch's: not tried any further.
    CalledOff,
}

impl OpenAi {
    /// The model, on the server of its `base_url`, else of `OPENAI_BASE_URL`,
    /// else on OpenAI's; `OPENAI_API_KEY` is shown to it, if there is one.
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// `permanent`, when the URL is none or the key can not be sent.
    pub fn new(model: &ModelSpec) -> Result<Self, Failure> {
        Ok(Self::on(
            Server::of(model)?,
            &model.name,
            Patience::default(),
        ))
    }

    pub(super) fn on(server: Server, name: &str, patience: Patience) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // The key goes where it was meant to go, and nowhere else.
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .max_idle_connections(MOST_THREADS)
            .max_idle_connections_per_host(MOST_THREADS)
            .user_agent(concat!("ragicamp/", env!("CARGO_PKG_VERSION")));
        if server.is_loopback() {
            config = config.proxy(None);
        }
        Self {
            name: name.to_owned(),
            server,
            agent: Agent::new_with_config(config.build()),
            patience,
            dialect: Dialect::default(),
            reached: AtomicBool::new(false),
            answered: false,
            concurrency: MOST_THREADS,
            pausing: AtomicUsize::new(0),
        }
    }

    /// The same for batches that may go on so long without a sign of progress.
    #[must_use]
    pub fn within(mut self, batch_timeout: Duration) -> Self {
        self.patience = Patience::within(batch_timeout);
        self
    }

    /// The same, waiting at most so long at once where the server asks for it.
    #[must_use]
    pub fn with_longest_pause(mut self, pause: Duration) -> Self {
        self.patience.longest_pause = pause;
        self
    }

    /// The same for whom sampled answers will do: a temperature of 0 is left
    /// out where the server takes only its own.
    #[must_use]
    pub fn with_any_temperature(mut self) -> Self {
        self.dialect.allow_any_temperature();
        self
    }

    /// The same, sending at most this many requests at once.
    #[must_use]
    pub fn with_concurrency(mut self, requests: usize) -> Self {
        self.concurrency = requests.clamp(1, MOST_THREADS);
        self
    }

    /// What decides the answers beside the request: the server and the model.
    pub fn identity(&self) -> String {
        self.place()
    }

    /// Prompts per batch, when the study leaves it to the program.
    pub const fn auto_batch_size(&self) -> usize {
        AUTO_BATCH
    }

    /// Sends a request, again and again while that is worth it.
    fn ask(
        &self,
        request: &GenerationRequest,
        settings: &GenerationSettings,
        called_off: &Receiver<Infallible>,
    ) -> Ending {
        let start = Instant::now();
        let mut tries = 0;
        // What the server asked to wait is not its being slow.
        let mut paused = Duration::ZERO;
        let mut request = Cow::Borrowed(request);
        let mut passages_cut = 0;
        loop {
            if called_off.try_recv() == Err(TryRecvError::Disconnected) {
                return Ending::CalledOff;
            }
            let worked = || start.elapsed().saturating_sub(paused);
            let left = self.patience.total.saturating_sub(worked());
            let trouble = match self.send(&request, settings, left) {
                Ok(generated) => {
                    return Ending::Done(Generated {
                        passages_cut,
                        ..generated
                    });
                }
                // Bounded by the passages. Only the server knows its window.
                Err(Trouble::Overflow(_)) if !request.passages.is_empty() => {
                    passages_cut += 1;
                    request = Cow::Owned(request.without_last(1));
                    continue;
                }
                // Bounded: each parameter is left out once.
                Err(Trouble::Untaken(parameter)) => {
                    if self.dialect.leave_out(parameter) {
                        tracing::warn!(
                            "{}: the server does not take {parameter:?}; going on without it",
                            self.label()
                        );
                    }
                    continue;
                }
                Err(trouble) => trouble,
            };
            tries += 1;
            let Trouble::Passing {
                what,
                wait,
                too_many,
                ..
            } = &trouble
            else {
                return Ending::Trouble { trouble, tries };
            };
            let asked = *wait;
            let wait = self.patience.wait(tries, *too_many, asked);
            let longest = match asked {
                Some(_) => self.patience.longest_pause,
                None => self.patience.total.saturating_sub(worked()),
            };
            if tries >= self.patience.tries || wait >= longest {
                return Ending::Trouble { trouble, tries };
            }
            tracing::info!(
                "{}: question {}: {}; trying again in {:.1} s",
                self.label(),
                request.idx,
                self.server.quote(what),
                wait.as_secs_f64()
            );
            let is_asked = asked.is_some();
            self.pausing.fetch_add(is_asked.into(), Ordering::Relaxed);
            let ended = called_off.recv_timeout(wait);
            self.pausing.fetch_sub(is_asked.into(), Ordering::Relaxed);
            if ended == Err(RecvTimeoutError::Disconnected) {
                return Ending::CalledOff;
            }
            if is_asked {
                paused += wait;
            }
        }
    }

    /// Sends a request once; it may take `left` at most.
    fn send(
        &self,
        request: &GenerationRequest,
        settings: &GenerationSettings,
        left: Duration,
    ) -> Result<Generated, Trouble> {
        let (body, sent) = body(&self.name, request, settings, &self.dialect);
        let url = format!("{}{}", self.server.url(), path(request));
        let mut post = self
            .agent
            .post(url)
            .config()
            .timeout_global(Some(left.min(self.patience.attempt)))
            .build()
            .header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = self.server.authorization() {
            post = post.header(AUTHORIZATION, authorization);
        }
        let mut response = post
            .send(body.to_string())
            .map_err(|error| no_reply(&error))?;
        self.reached.store(true, Ordering::Relaxed);
        let status = response.status();
        let wait = asked_wait(response.headers(), SystemTime::now());
        let reply = response
            .body_mut()
            .with_config()
            .limit(LONGEST_REPLY)
            .read_to_vec();
        if status.is_success() {
            let reply = reply.map_err(|error| no_reply(&error))?;
            let mut generated = completion(&reply, settings)?;
            // Answers are kept, and a server that echoes requests answers so.
            generated.text = self.server.without_secret(generated.text);
            Ok(generated)
        } else {
            // The status says enough when the rest does not arrive.
            Err(trouble(status, &reply.unwrap_or_default(), wait, &sent))
        }
    }

    fn label(&self) -> String {
        format!("openai:{}", self.name)
    }

    fn place(&self) -> String {
        format!("openai:{} at {}", self.name, self.server.url())
    }

    /// The failure of a batch that may pass, after as many tries as it was
    /// worth.
    fn worn_out(
        &self,
        what: &str,
        unreachable: bool,
        wait: Option<Duration>,
        tries: u32,
    ) -> Failure {
        let what = self.server.quote(what);
        let times = if tries == 1 { "try" } else { "tries" };
        // A server that was never there is not going to appear by smaller
        // batches; one that was there may be restarting.
        if unreachable && !self.reached.load(Ordering::Relaxed) {
            let message = format!(
                "{} can not be reached ({what}, {tries} {times}): start the server, or correct base_url or OPENAI_BASE_URL",
                self.place()
            );
            return Failure::new(FailureClass::Permanent, message);
        }
        // Smaller batches would only be told the same.
        if let Some(wait) = wait.filter(|wait| *wait >= self.patience.longest_pause) {
            let message = format!(
                "{}: {what} ({tries} {times}; it asks to wait {} s): `ragicamp resume` goes on then",
                self.place(),
                wait.as_secs()
            );
            return Failure::new(FailureClass::Permanent, message);
        }
        let message = format!("{}: {what} ({tries} {times})", self.place());
        Failure::new(FailureClass::Transient, message)
    }

    fn hopeless(&self, hopeless: &Hopeless) -> Failure {
        let place = self.place();
        let message = match hopeless {
            Hopeless::Key(what) => {
                let what = self.server.quote(what);
                if self.server.has_key() {
                    format!("{place} does not accept the key ({what}): correct OPENAI_API_KEY")
                } else {
                    format!("{place} wants a key ({what}): set OPENAI_API_KEY")
                }
            }
            Hopeless::Unknown(what) => format!(
                "{place} is not there ({}): correct the model's name, or base_url or OPENAI_BASE_URL",
                self.server.quote(what)
            ),
            Hopeless::Other(what) => {
                format!("{place} can not be used: {}", self.server.quote(what))
            }
        };
        Failure::new(FailureClass::Permanent, message)
    }
}

/// What a batch came to beside its answers.
#[derive(Default)]
struct Troubles {
    /// The batch's failure; a permanent one wins.
    failure: Option<Failure>,
    /// Prompts whose requests were refused, and what was said.
    refused: Vec<(usize, String)>,
}

impl Troubles {
    fn fail(&mut self, failure: Failure) {
        let is_worse = failure.class == FailureClass::Permanent;
        match &self.failure {
            Some(known) if known.class == FailureClass::Permanent || !is_worse => {}
            _ => self.failure = Some(failure),
        }
    }
}

impl Generator for OpenAi {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
        settings: &GenerationSettings,
        tell: &mut dyn FnMut(GenerationEvent),
    ) -> Result<(), Failure> {
        let mut troubles = Troubles::default();
        let mut answered = false;
        let (call_off, called_off) = bounded::<Infallible>(0);
        let mut call_off = Some(call_off);
        let next = AtomicUsize::new(0);
        let this = &*self;
        std::thread::scope(|scope| {
            let (end, endings) = unbounded();
            for _ in 0..requests.len().min(this.concurrency) {
                let (end, called_off, next) = (end.clone(), called_off.clone(), &next);
                let asking = move || {
                    while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let ending = this.ask(request, settings, &called_off);
                        if end.send((request.idx, ending)).is_err() {
                            break;
                        }
                    }
                };
                let thread = std::thread::Builder::new().name("request".to_owned());
                if let Err(error) = thread.spawn_scoped(scope, asking) {
                    // Fewer threads do the same; none can do nothing.
                    tracing::warn!("no thread for a request: {error}");
                    break;
                }
            }
            drop(end);
            loop {
                let (idx, ending) = match endings.recv_timeout(SIGN_OF_LIFE) {
                    Ok(ended) => ended,
                    Err(RecvTimeoutError::Timeout) => {
                        if this.pausing.load(Ordering::Relaxed) > 0 {
                            tell(GenerationEvent::Progress { tokens: 0 });
                        }
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                };
                match ending {
                    Ending::Done(generated) => {
                        answered = true;
                        let tokens = generated.tokens_in + generated.tokens_out;
                        tell(GenerationEvent::Done { idx, generated });
                        // Each answer is a step of its own.
                        tell(GenerationEvent::Progress { tokens });
                    }
                    Ending::CalledOff => {}
                    Ending::Trouble { trouble, tries } => {
                        if let Some(failure) = this.settle(idx, trouble, tries, &mut troubles, tell)
                        {
                            troubles.fail(failure);
                            call_off = None;
                        }
                    }
                }
            }
        });
        drop(call_off);
        self.answered |= answered;
        if next.load(Ordering::Relaxed) == 0 && !requests.is_empty() {
            let message = format!("{}: no thread could be started", self.label());
            return Err(Failure::new(FailureClass::Transient, message));
        }
        if let Some(failure) = troubles.failure {
            return Err(failure);
        }
        if let Some((_, what)) = troubles.refused.first()
            && !self.answered
        {
            // Nothing was ever answered: it is what all requests share.
            let message = format!(
                "{} refuses the requests ({what}): change the model or the study's generation settings",
                self.place()
            );
            return Err(Failure::new(FailureClass::Permanent, message));
        }
        for (idx, what) in troubles.refused {
            let message = format!("{} refuses this prompt: {what}", self.place());
            let failure = Failure::new(FailureClass::BadItem, message);
            tell(GenerationEvent::Failed { idx, failure });
        }
        Ok(())
    }

    fn release_caches(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn describe(&self) -> Value {
        json!({
            "model": self.label(),
            "device": "remote",
            "base_url": self.server.url(),
            "has_key": self.server.has_key(),
            "most_requests_at_once": self.concurrency,
        })
    }
}

impl OpenAi {
    /// What one request's trouble means: told, kept for the end, or the
    /// failure of the batch.
    fn settle(
        &self,
        idx: usize,
        trouble: Trouble,
        tries: u32,
        troubles: &mut Troubles,
        tell: &mut dyn FnMut(GenerationEvent),
    ) -> Option<Failure> {
        match trouble {
            Trouble::Passing {
                what,
                wait,
                unreachable,
                ..
            } => Some(self.worn_out(&what, unreachable, wait, tries)),
            Trouble::Hopeless(hopeless) => Some(self.hopeless(&hopeless)),
            Trouble::Overflow(what) | Trouble::Prompt(what) => {
                let message = format!("{}: {}", self.place(), self.server.quote(&what));
                let failure = Failure::new(FailureClass::BadItem, message);
                tell(GenerationEvent::Failed { idx, failure });
                None
            }
            // Whose fault it is shows when the batch is done.
            Trouble::Refused(what) => {
                troubles.refused.push((idx, self.server.quote(&what)));
                None
            }
            // `ask` takes these itself.
            Trouble::Untaken(_) => None,
        }
    }
}
