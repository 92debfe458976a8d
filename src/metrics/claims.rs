//! What an answer claims, and whether passages bear it out.

use unicode_segmentation::UnicodeSegmentation;

/// What a model of natural language inference says of a claim, given a passage:
/// probabilities, between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Inferred {
    /// That the passage entails the claim.
    pub entailment: f64,
    /// That it contradicts the claim.
    pub contradiction: f64,
}

/// Where a model's labels have what is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InferenceLabels {
    entailment: usize,
    contradiction: usize,
}

/// The claims of an answer, one per sentence, each with the question in front
/// of it: without it a short answer claims nothing that could be checked. An
/// answer without a word claims nothing.
pub fn claims(question: &str, answer: &str) -> Vec<String> {
    let question = question.trim();
    answer
        .unicode_sentences()
        .map(|sentence| format!("{question} {}", sentence.trim()))
        .collect()
}

impl InferenceLabels {
    /// Finds them by name, in any case.
    ///
    /// # Errors
    /// One clause that says which labels there are.
    pub fn of(labels: &[String]) -> Result<Self, String> {
        let find = |name: &str| {
            labels
                .iter()
                .position(|label| label.eq_ignore_ascii_case(name))
        };
        match (find("entailment"), find("contradiction")) {
            (Some(entailment), Some(contradiction)) => Ok(Self {
                entailment,
                contradiction,
            }),
            _ => Err(format!(
                "its labels are {}, and entailment and contradiction have to be among them",
                labels.join(", ")
            )),
        }
    }

    /// The probabilities that logits stand for, by a softmax over all labels.
    pub fn probabilities(self, logits: &[f32]) -> Inferred {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |logit: f32| f64::from(logit - highest).exp();
        let sum: f64 = logits.iter().copied().map(weight).sum();
        let of = |label: usize| logits.get(label).map_or(f64::NAN, |it| weight(*it) / sum);
        Inferred {
            entailment: of(self.entailment),
            contradiction: of(self.contradiction),
        }
    }
}

/// How far the passages bear out an answer. `claims`: for each claim what was
/// inferred from each passage.
///
/// A claim counts as much as the passage entails it that entails it most, and
/// an answer as its claims do on average (SummaC-ZS, Laban et al., TACL 2022,
/// <https://arxiv.org/abs/2111.09525>). `None` when nothing is claimed; 0 when
/// there is no passage.
pub fn faithfulness(claims: &[Vec<Inferred>]) -> Option<f64> {
    mean(
        claims
            .iter()
            .map(|claim| highest(claim, |it| it.entailment)),
    )
}

/// How far the passages speak against an answer, as for [`faithfulness`].
///
/// A claim counts as much as a passage contradicts it and none entails it: the
/// highest probability of contradiction times what is missing to certain
/// entailment. For models of inference see contradictions between a claim and a
/// passage that is about something else, and where another passage says the
/// same as the claim they are to have no weight. What is neither entailed nor
/// contradicted counts 0 in both metrics.
pub fn hallucination(claims: &[Vec<Inferred>]) -> Option<f64> {
    mean(claims.iter().map(|claim| {
        let entailed = highest(claim, |it| it.entailment);
        highest(claim, |it| it.contradiction) * (1.0 - entailed)
    }))
}

fn highest(claim: &[Inferred], of: impl Fn(&Inferred) -> f64) -> f64 {
    claim.iter().map(of).fold(0.0, f64::max)
}

fn mean(scores: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let number = scores.len();
    (number > 0).then(|| scores.sum::<f64>() / number as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const fn inferred(entailment: f64, contradiction: f64) -> Inferred {
        Inferred {
            entailment,
            contradiction,
        }
    }

    #[test]
    fn each_sentence_is_a_claim_that_knows_its_question() {
        assert_eq!(
            claims("Who wrote it? ", " Goethe\n"),
            ["Who wrote it? Goethe"]
        );
        assert_eq!(
            claims("Where?", "In Rome. It was built in 80 AD!"),
            ["Where? In Rome.", "Where? It was built in 80 AD!"]
        );
        assert!(claims("Where?", " ").is_empty());
        assert!(claims("Where?", "...").is_empty());
    }

    #[test]
    fn labels_are_found_by_name_and_their_absence_is_told() {
        let labels = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            InferenceLabels::of(&names)
        };
        let found = labels(&["CONTRADICTION", "NEUTRAL", "ENTAILMENT"]).unwrap();
        let even = found.probabilities(&[1.0, 1.0, 1.0]);
        assert!((even.entailment - 1.0 / 3.0).abs() < 1e-12, "{even:?}");
        let sure = found.probabilities(&[0.0, 0.0, 200.0]);
        assert_eq!(sure, inferred(1.0, sure.contradiction));
        assert!(sure.contradiction < 1e-12, "{sure:?}");
        let topics = labels(&["LABEL_0", "LABEL_1"]).unwrap_err();
        assert!(topics.contains("LABEL_0, LABEL_1"), "{topics}");
    }

    #[test]
    fn the_passage_that_supports_a_claim_most_decides() {
        let borne_out = vec![inferred(0.1, 0.6), inferred(0.9, 0.0)];
        let denied = vec![inferred(0.0, 0.8), inferred(0.2, 0.1)];
        let all = [borne_out, denied];
        let near = |score: Option<f64>, want: f64| (score.unwrap() - want).abs() < 1e-12;
        assert!(near(faithfulness(&all), (0.9 + 0.2) / 2.0));
        assert!(near(hallucination(&all), (0.6 * 0.1 + 0.8 * 0.8) / 2.0));
        assert_eq!(faithfulness(&[]), None);
        assert_eq!(hallucination(&[]), None);
        assert_eq!(faithfulness(&[Vec::new()]), Some(0.0));
        assert_eq!(hallucination(&[Vec::new()]), Some(0.0));
    }
}
