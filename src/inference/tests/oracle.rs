//! candle-transformers' own Llama, one prompt at a time, as a second opinion.

use super::*;
use candle_core::{DType, Device as CandleDevice, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};

#[test]
fn the_reader_has_the_logits_that_candle_transformers_computes_alone() {
    let files = reader_files();
    let device = CandleDevice::Cpu;
    let config = files.config.as_ref().unwrap().read().unwrap();
    let config: LlamaConfig = serde_json::from_slice(&config).unwrap();
    let config = config.into_config(false);
    let hub::WeightFiles::Embedded(bytes) = &files.weights else {
        panic!("the reader is compiled in");
    };
    let weights = VarBuilder::from_slice_safetensors(bytes, DType::F32, &device).unwrap();
    let oracle = Llama::load(weights, &config).unwrap();

    let mut engine = reader(LoadOptions::default());
    let texts: Vec<String> = ["one_passage", "five_same_relation", "no_context"]
        .iter()
        .flat_map(|set| heldout(set).into_iter().take(4))
        .map(|(prompt, _)| prompt)
        .collect();
    let prompts: Vec<Vec<u32>> = requests(&texts)
        .iter()
        .map(|request| engine.tokens(request).unwrap())
        .collect();
    let ours = engine.logits(&prompts).unwrap();
    for (prompt, ours) in prompts.iter().zip(&ours) {
        let mut cache = Cache::new(false, DType::F32, &config, &device).unwrap();
        let input = Tensor::new(prompt.as_slice(), &device)
            .unwrap()
            .unsqueeze(0)
            .unwrap();
        let theirs = oracle.forward(&input, 0, &mut cache).unwrap();
        let theirs: Vec<f32> = theirs.squeeze(0).unwrap().to_vec1().unwrap();
        assert_eq!(ours.len(), theirs.len());
        let scale = theirs.iter().fold(1.0_f32, |max, x| max.max(x.abs()));
        let worst = ours
            .iter()
            .zip(&theirs)
            .map(|(a, b)| (a - b).abs() / scale)
            .fold(0.0_f32, f32::max);
        assert!(worst < 1e-4, "off by {worst}");
    }
}
