use crate::{
    domain::{
        Failure, FailureClass, GenerationEvent, GenerationRequest, GenerationSettings, Generator,
        Prediction, Provider,
    },
    metrics::Judgment,
    remote::{AnswerCache, OpenAi},
    study::LlmJudge,
};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// Requests given to the client together, for each that it sends at once.
const ROUNDS_PER_BATCH: usize = 8;

/// Batches in a row without a single verdict, after which the server counts as
/// gone.
const MOST_FRUITLESS: usize = 2;

/// Room for a model that thinks before its one word.
const LONGEST_REPLY: usize = 1_024;

/// A model that judges answers. What it said once is kept on disk and never
/// asked again; what it did not say is a failure of that item, and asked again
/// the next time.
pub struct Judge {
    judgment: Judgment,
    concurrency: usize,
    settings: GenerationSettings,
    /// Or why there is none.
    client: Result<(OpenAi, AnswerCache), String>,
}

/// A server may ask to wait so long: a run that is to stop waits with it.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A verdict's score, or why there is none.
pub type Verdict = Result<f64, String>;

impl Judge {
    /// The judge of a study. Nothing is sent yet; one that can not be used is
    /// told by its verdicts.
    pub fn new(judge: &LlmJudge, cache: &Path) -> Self {
        let settings = GenerationSettings {
            max_new_tokens: LONGEST_REPLY,
            temperature: 0.0,
            ..GenerationSettings::default()
        };
        let client = match judge.model.provider {
            Provider::Openai => OpenAi::new(&judge.model)
                .map(|client| {
                    client
                        .with_concurrency(judge.concurrency)
                        .with_any_temperature()
                        .with_longest_pause(LONGEST_PAUSE)
                })
                .and_then(|client| {
                    let answers = AnswerCache::open(&cache.join("judge"), &client.identity());
                    Ok((client, answers?))
                })
                .map_err(|failure| failure.first_line().to_owned()),
            _ => Err(format!(
                "{} can not judge: write openai:NAME, with base_url for a server of your own",
                judge.model
            )),
        };
        Self {
            judgment: Judgment::parse(&judge.judgment_type).unwrap_or(Judgment::Binary),
            concurrency: judge.concurrency,
            settings,
            client,
        }
    }

    /// By idx the verdict on every answer that has gold answers; others are
    /// not judged. An API's failure is never a verdict.
    pub fn verdicts(
        &mut self,
        predictions: &[Prediction],
        go_on: &mut dyn FnMut() -> bool,
    ) -> BTreeMap<usize, Verdict> {
        let judged = predictions
            .iter()
            .filter(|one| one.is_answered() && !one.expected.is_empty());
        let mut verdicts = BTreeMap::new();
        let (client, answers) = match &mut self.client {
            Ok(client) => client,
            Err(why) => {
                verdicts.extend(judged.map(|one| (one.idx, Err(why.clone()))));
                return verdicts;
            }
        };
        let mut outstanding = Vec::new();
        for prediction in judged {
            let request = GenerationRequest {
                idx: prediction.idx,
                system: Some(self.judgment.system().to_owned()),
                prompt: self.judgment.prompt(
                    &prediction.question,
                    &prediction.expected,
                    &prediction.prediction,
                ),
                raw: false,
                passages: Vec::new(),
            };
            match answers.get(&request) {
                Some(reply) => {
                    verdicts.insert(request.idx, self.judgment.score(reply));
                }
                None => outstanding.push(request),
            }
        }
        let mut asking = Asking {
            judgment: self.judgment,
            settings: &self.settings,
            client,
            answers,
            verdicts: &mut verdicts,
        };
        asking.all(outstanding, self.concurrency * ROUNDS_PER_BATCH, go_on);
        verdicts
    }
}

/// The requests of one experiment.
struct Asking<'a> {
    judgment: Judgment,
    settings: &'a GenerationSettings,
    client: &'a mut OpenAi,
    answers: &'a mut AnswerCache,
    verdicts: &'a mut BTreeMap<usize, Verdict>,
}

impl Asking<'_> {
    fn all(
        &mut self,
        mut outstanding: Vec<GenerationRequest>,
        batch: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) {
        let mut fruitless = 0;
        while !outstanding.is_empty() {
            if !go_on() {
                return self.give_up(&outstanding, "it was not judged any more");
            }
            let now = outstanding.len().min(batch.max(1));
            let requests: Vec<_> = outstanding.drain(..now).collect();
            let before = self.verdicts.len();
            let Err(failure) = self.batch(&requests, go_on) else {
                fruitless = 0;
                continue;
            };
            fruitless = if self.verdicts.len() > before {
                0
            } else {
                fruitless + 1
            };
            // A batch that failed was called off: what it did not get to say
            // is asked once more, after the others, so that one request that
            // always fails holds up nobody.
            let unsaid = |request: &GenerationRequest| !self.verdicts.contains_key(&request.idx);
            outstanding.extend(requests.into_iter().filter(unsaid));
            if failure.class == FailureClass::Permanent || fruitless >= MOST_FRUITLESS {
                return self.give_up(&outstanding, failure.first_line());
            }
        }
    }

    fn give_up(&mut self, outstanding: &[GenerationRequest], why: &str) {
        let failed = outstanding
            .iter()
            .map(|request| (request.idx, Err(why.to_owned())));
        self.verdicts.extend(failed);
    }

    fn batch(
        &mut self,
        requests: &[GenerationRequest],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(), Failure> {
        let by_idx: BTreeMap<usize, &GenerationRequest> = requests
            .iter()
            .map(|request| (request.idx, request))
            .collect();
        let mut lost = None;
        let ended = self
            .client
            .generate(requests, self.settings, &mut |event| match event {
                GenerationEvent::Done { idx, generated } => {
                    // It is asked whether to go on before the next batch;
                    // meanwhile whoever asks is told that work goes on.
                    go_on();
                    let verdict = self.judgment.score(&generated.text);
                    // A reply that is no verdict may be one the next time.
                    if let (Ok(_), Some(request)) = (&verdict, by_idx.get(&idx))
                        && let Err(failure) = self.answers.put(request, &generated.text)
                    {
                        lost = Some(failure);
                    }
                    self.verdicts.insert(idx, verdict);
                }
                GenerationEvent::Failed { idx, failure } => {
                    self.verdicts
                        .insert(idx, Err(failure.first_line().to_owned()));
                }
                GenerationEvent::Progress { .. } => {
                    go_on();
                }
            });
        if let Some(failure) = lost {
            tracing::warn!("the judge's answers are not kept: {failure}");
        }
        ended?;
        // Whoever was passed over without a word has failed.
        for idx in by_idx.into_keys() {
            self.verdicts
                .entry(idx)
                .or_insert_with(|| Err("the judge did not answer".to_owned()));
        }
        Ok(())
    }
}
