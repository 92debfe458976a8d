use super::{
    borrowed::BorrowedModel, config::ModelConfig, decoder::Decoder, linear::Stored, loader::Layout,
    pack::Pack, sampling::likeliest, weight_cache::WeightCache, weights::Weights,
};
use crate::{domain::Failure, hub::ModelFiles};
use candle_core::{DType, Device, Result, Tensor};

/// What computes logits: our own decoder, or a model of candle-transformers
/// where ours does not know the architecture.
pub enum Network {
    /// For sequences of any lengths.
    Own(Box<Decoder>),
    /// For sequences of equal lengths.
    Borrowed(Box<BorrowedModel>),
}

impl Network {
    /// Builds what computes this architecture.
    ///
    /// # Errors
    /// One sentence (class `permanent`) for what is missing, wrong or not
    /// supported; the device's failure.
    pub fn load(
        files: &ModelFiles,
        config: ModelConfig,
        weights: &Weights,
        layout: Layout,
        device: &Device,
        cache: Option<WeightCache>,
    ) -> std::result::Result<Self, Failure> {
        if !config.is_borrowed() {
            let decoder = Decoder::load(config, weights, layout, device, cache)?;
            return Ok(Self::Own(Box::new(decoder)));
        }
        BorrowedModel::load(files, config, weights, layout.compute, device)
            .map(|model| Self::Borrowed(Box::new(model)))
    }

    /// Whether all sequences of a pass must be of one length.
    pub const fn wants_equal_lengths(&self) -> bool {
        matches!(self, Self::Borrowed(_))
    }

    /// The configuration.
    pub const fn config(&self) -> &ModelConfig {
        match self {
            Self::Own(decoder) => decoder.config(),
            Self::Borrowed(model) => model.config(),
        }
    }

    /// The device.
    pub const fn device(&self) -> &Device {
        match self {
            Self::Own(decoder) => decoder.device(),
            Self::Borrowed(model) => model.device(),
        }
    }

    /// The type of activations.
    pub const fn compute(&self) -> DType {
        match self {
            Self::Own(decoder) => decoder.compute(),
            Self::Borrowed(model) => model.compute(),
        }
    }

    /// What each weight tensor became.
    pub fn stored(&self) -> &[(String, Stored)] {
        match self {
            Self::Own(decoder) => decoder.stored(),
            Self::Borrowed(model) => model.stored(),
        }
    }

    /// As [`Decoder::begin`].
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn begin(&mut self, capacities: &[usize]) -> Result<()> {
        match self {
            Self::Own(decoder) => decoder.begin(capacities),
            Self::Borrowed(model) => {
                model.begin(capacities.len());
                Ok(())
            }
        }
    }

    /// As [`Decoder::cache_bytes`].
    pub fn cache_bytes(&self, capacities: &[usize]) -> usize {
        match self {
            Self::Own(decoder) => decoder.cache_bytes(capacities),
            Self::Borrowed(model) => {
                let each = model
                    .config()
                    .kv_bytes_per_token(model.compute().size_in_bytes());
                capacities.iter().sum::<usize>() * each
            }
        }
    }

    /// As [`Decoder::value_bytes`].
    pub fn value_bytes(&self) -> usize {
        match self {
            Self::Own(decoder) => decoder.value_bytes(),
            Self::Borrowed(model) => model.compute().size_in_bytes(),
        }
    }

    /// As [`Decoder::release`].
    ///
    /// # Errors
    /// When the device fails.
    pub fn release(&mut self, slot: usize) -> Result<Option<usize>> {
        match self {
            Self::Own(decoder) => decoder.release(slot),
            Self::Borrowed(_) => Ok(None),
        }
    }

    /// As [`Decoder::keep`].
    pub fn keep(&mut self, slot: usize) -> bool {
        match self {
            Self::Own(decoder) => decoder.keep(slot),
            Self::Borrowed(_) => false,
        }
    }

    /// As [`Decoder::forget`].
    pub fn forget(&mut self) {
        if let Self::Own(decoder) = self {
            decoder.forget();
        }
    }

    /// As [`Decoder::clear`].
    pub fn clear(&mut self) {
        match self {
            Self::Own(decoder) => decoder.clear(),
            Self::Borrowed(model) => model.clear(),
        }
    }

    /// As [`Decoder::forward`].
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward(&mut self, pack: &Pack) -> Result<Option<Tensor>> {
        match self {
            Self::Own(decoder) => decoder.forward(pack),
            Self::Borrowed(model) => model.forward(pack).map(Some),
        }
    }

    /// As [`Decoder::greedy`].
    ///
    /// # Errors
    /// When the device fails.
    pub fn greedy(&self, said: &Tensor) -> Result<Vec<Option<u32>>> {
        match self {
            Self::Own(decoder) => decoder.greedy(said),
            Self::Borrowed(_) => likeliest(said),
        }
    }

    /// As [`Decoder::logits`].
    ///
    /// # Errors
    /// When the device fails.
    pub fn logits(&self, said: &Tensor) -> Result<Tensor> {
        match self {
            Self::Own(decoder) => decoder.logits(said),
            Self::Borrowed(_) => said.to_dtype(DType::F32),
        }
    }
}
