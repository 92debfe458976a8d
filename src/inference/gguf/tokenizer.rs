use super::{
    GgufFile,
    file::whole,
    pre_tokenizer::{self, PreTokenizer},
};
use crate::domain::Failure;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// What a GGUF file says about text: all that a model in Hugging Face layout
/// has in its tokenizer files.
pub struct GgufText {
    /// A `tokenizer.json`.
    pub tokenizer: Value,
    /// The token that prompts begin with, where they do.
    pub bos: Option<String>,
    /// The end-of-sequence token's text.
    pub eos: Option<String>,
    /// Tokens that end an answer.
    pub ends: Vec<u32>,
    /// The chat template.
    pub template: Option<String>,
}

/// The kinds of `tokenizer.ggml.token_type`.
mod kind {
    pub const UNKNOWN: u64 = 2;
    pub const CONTROL: u64 = 3;
    pub const USER: u64 = 4;
}

/// Texts of tokens that end an answer, whatever the keys say: many files name
/// one end token where the model has two. The list is llama.cpp's.
const ENDS: [&str; 12] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];

/// SentencePiece's stand-in for a blank.
const BLANK: &str = "\u{2581}";

/// Reads tokenizer and chat template of a file.
///
/// # Errors
/// One sentence (class `permanent`) with the key that is missing, senseless
/// or not supported.
pub fn text(file: &GgufFile) -> Result<GgufText, Failure> {
    let tokens = file.texts("tokenizer.ggml.tokens")?;
    let kinds = kinds(file, tokens.len())?;
    let id = |key: &str| -> Result<Option<usize>, Failure> {
        Ok(file.number(key)?.filter(|id| *id < tokens.len()))
    };
    let bos = id("tokenizer.ggml.bos_token_id")?;
    let eos = id("tokenizer.ggml.eos_token_id")?;
    let model = file.need_text("tokenizer.ggml.model")?;
    let (mut tokenizer, begins) = match (file.text("tokenizer.huggingface.json"), model) {
        (Some(whole), _) => {
            let tokenizer = serde_json::from_str(whole).map_err(|error| {
                file.permanent(&format!(
                    "has a tokenizer.huggingface.json that is no JSON: {error}"
                ))
            })?;
            (tokenizer, None)
        }
        (None, "gpt2") => {
            let cut = cut(file)?;
            (byte_level(file, &tokens, &cut)?, Some(cut.begins))
        }
        (None, "llama") => (sentence_piece(file, &tokens)?, Some(true)),
        (None, other) => {
            return Err(file.permanent(&format!(
                "has a tokenizer of the kind {other} (tokenizer.ggml.model), which is not supported; supported are gpt2 and llama"
            )));
        }
    };
    if let Some(begins) = begins {
        // Phi-3's special tokens swallow the blanks behind them.
        let name = file.text("general.name").unwrap_or_default().to_lowercase();
        let swallows = model == "llama" && (name.contains("phi-3") || name.contains("phi3"));
        tokenizer["added_tokens"] = added(&tokens, &kinds, swallows);
        let first = bos.filter(|_| file.flag("tokenizer.ggml.add_bos_token").unwrap_or(begins));
        let last = eos.filter(|_| file.flag("tokenizer.ggml.add_eos_token").unwrap_or(false));
        tokenizer["post_processor"] = frame(&tokens, first, last);
    }
    let mut ends: Vec<u32> = tokens
        .iter()
        .zip(&kinds)
        .enumerate()
        .filter(|(_, (text, kind))| {
            ENDS.contains(text) && (**kind == kind::CONTROL || **kind == kind::USER)
        })
        .map(|(id, _)| id as u32)
        .collect();
    let eot = id("tokenizer.ggml.eot_token_id")?;
    let eom = id("tokenizer.ggml.eom_token_id")?;
    ends.extend([eos, eot, eom].into_iter().flatten().map(|id| id as u32));
    ends.sort_unstable();
    ends.dedup();
    let word = |id: Option<usize>| id.map(|id| tokens[id].to_owned());
    Ok(GgufText {
        tokenizer,
        bos: word(bos),
        eos: word(eos),
        ends,
        template: file
            .text("tokenizer.chat_template")
            .filter(|template| !template.trim().is_empty())
            .map(str::to_owned),
    })
}

/// The kind of each token; 1 (normal) where the file does not say.
fn kinds(file: &GgufFile, tokens: usize) -> Result<Vec<u64>, Failure> {
    let key = "tokenizer.ggml.token_type";
    let Some(list) = file.list(key) else {
        return Ok(vec![1; tokens]);
    };
    if list.len() < tokens {
        return Err(file.permanent(&format!(
            "has {} entries in {key} for {tokens} tokens",
            list.len()
        )));
    }
    Ok(list
        .iter()
        .take(tokens)
        .map(|value| whole(value).unwrap_or(1))
        .collect())
}

fn cut(file: &GgufFile) -> Result<PreTokenizer, Failure> {
    let key = "tokenizer.ggml.pre";
    let Some(name) = file.text(key) else {
        return Err(file.permanent(&format!(
            "does not say how its tokenizer cuts texts (no key {key}), so answers would be wrong; take a file from a newer converter"
        )));
    };
    pre_tokenizer::of_name(name).ok_or_else(|| {
        file.permanent(&format!(
            "has a tokenizer that cuts texts as {name} ({key}), which is not supported; supported are {}",
            pre_tokenizer::KNOWN
        ))
    })
}

fn vocabulary(tokens: &[&str]) -> Map<String, Value> {
    tokens
        .iter()
        .enumerate()
        .map(|(id, text)| ((*text).to_owned(), Value::from(id)))
        .collect()
}

/// A tokenizer that merges bytes by rank (GPT-2, Llama 3, Qwen, ...).
fn byte_level(file: &GgufFile, tokens: &[&str], cut: &PreTokenizer) -> Result<Value, Failure> {
    let key = "tokenizer.ggml.merges";
    let merges = file
        .texts(key)?
        .into_iter()
        .map(|merge| {
            // A token may begin with a blank, but never is one.
            let at = merge
                .char_indices()
                .skip(1)
                .find(|(_, letter)| *letter == ' ')
                .map(|(at, _)| at);
            at.map(|at| json!([&merge[..at], &merge[at + 1..]]))
                .ok_or_else(|| file.permanent(&format!("has a senseless entry in {key}: {merge}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut cuts: Vec<Value> = cut
        .patterns
        .iter()
        .map(|pattern| {
            json!({
                "type": "Split",
                "pattern": {"Regex": pattern},
                "behavior": "Isolated",
                "invert": false,
            })
        })
        .collect();
    cuts.push(json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
    }));
    Ok(json!({
        "version": "1.0",
        "normalizer": if cut.composes { json!({"type": "NFC"}) } else { Value::Null },
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": cuts},
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
            "use_regex": false,
        },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": cut.ignores_merges,
            "vocab": vocabulary(tokens),
            "merges": merges,
        },
    }))
}

/// SentencePiece's BPE (Llama 2, Mistral, Gemma, Phi-3): two neighbours join
/// when they make a token, the one with the highest score first. That is a
/// list of merges in the order of the scores.
fn sentence_piece(file: &GgufFile, tokens: &[&str]) -> Result<Value, Failure> {
    let key = "tokenizer.ggml.scores";
    let scores: Vec<f64> = file
        .list(key)
        .unwrap_or_default()
        .iter()
        .filter_map(|value| match value {
            candle_core::quantized::gguf_file::Value::F32(score) => Some(f64::from(*score)),
            candle_core::quantized::gguf_file::Value::I32(score) => Some(f64::from(*score)),
            _ => None,
        })
        .collect();
    if scores.len() < tokens.len() {
        return Err(file.permanent(&format!(
            "has {} scores ({key}) for {} tokens",
            scores.len(),
            tokens.len()
        )));
    }
    let ids: HashMap<&str, usize> = tokens
        .iter()
        .enumerate()
        .map(|(id, text)| (*text, id))
        .collect();
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let mut merges = Vec::new();
    for id in order {
        let text = tokens[id];
        let mut parts: Vec<(usize, usize, &str, &str)> = text
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (left, right) = text.split_at(at);
                Some((*ids.get(left)?, *ids.get(right)?, left, right))
            })
            .collect();
        parts.sort_unstable();
        merges.extend(
            parts
                .into_iter()
                .map(|(_, _, left, right)| json!([left, right])),
        );
    }
    let unknown = file
        .number("tokenizer.ggml.unknown_token_id")?
        .and_then(|id| tokens.get(id));
    let prefix = file.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": BLANK});
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": BLANK}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(json!({
        "version": "1.0",
        "normalizer": if prefix {
            json!({
                "type": "Sequence",
                "normalizers": [{"type": "Prepend", "prepend": BLANK}, replace],
            })
        } else {
            replace
        },
        "pre_tokenizer": null,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": unknown,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": true,
            "ignore_merges": false,
            "vocab": vocabulary(tokens),
            "merges": merges,
        },
    }))
}

/// Tokens that are found in a text before anything else.
fn added(tokens: &[&str], kinds: &[u64], swallows: bool) -> Value {
    let one = |(id, (&text, kind)): (usize, (&&str, &u64))| {
        let special = matches!(*kind, kind::UNKNOWN | kind::CONTROL);
        let keeps = matches!(text, "<unk>" | "<s>" | "<|endoftext|>");
        (!text.is_empty() && (special || *kind == kind::USER)).then(|| {
            json!({
                "id": id,
                "content": text,
                "single_word": false,
                "lstrip": false,
                "rstrip": swallows && !keeps,
                "normalized": false,
                "special": special,
            })
        })
    };
    tokens
        .iter()
        .zip(kinds)
        .enumerate()
        .filter_map(one)
        .collect()
}

/// What stands before and behind every prompt.
fn frame(tokens: &[&str], first: Option<usize>, last: Option<usize>) -> Value {
    if first.is_none() && last.is_none() {
        return Value::Null;
    }
    let special = |id: usize| json!({"SpecialToken": {"id": tokens[id], "type_id": 0}});
    let around = |names: &[&str]| {
        let middle = names
            .iter()
            .map(|name| json!({"Sequence": {"id": name, "type_id": 0}}));
        first
            .map(special)
            .into_iter()
            .chain(middle)
            .chain(last.map(special))
            .collect::<Vec<_>>()
    };
    let named: Map<String, Value> = [first, last]
        .into_iter()
        .flatten()
        .map(|id| {
            let text = tokens[id];
            (
                text.to_owned(),
                json!({"id": text, "ids": [id], "tokens": [text]}),
            )
        })
        .collect();
    json!({
        "type": "TemplateProcessing",
        "single": around(&["A"]),
        "pair": around(&["A", "B"]),
        "special_tokens": named,
    })
}
