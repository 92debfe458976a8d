use super::{
    Floats,
    encoder_client::{Batch, EncoderClient},
    encoders::EncoderSettings,
    protocol::{Request, Role},
};
use crate::domain::{Failure, FailureClass, NearestRows, VectorFile, embedding_model};

/// Vectors that a worker searches exactly, on the device of the encoders.
pub struct SearchingWorker {
    client: EncoderClient,
    has_failed: bool,
}

impl SearchingWorker {
    /// Starts a worker that takes the vectors of a model to the device.
    ///
    /// # Errors
    /// When the file can not be read, there is no such device, or no room on it.
    pub fn start(
        settings: &EncoderSettings,
        model: &str,
        file: &VectorFile,
    ) -> Result<Self, Failure> {
        let model = embedding_model(model)
            .map_err(|message| Failure::new(FailureClass::Permanent, message))?;
        let role = Role::Searcher {
            vectors: file.clone(),
        };
        Ok(Self {
            client: EncoderClient::start(settings, role, model)?,
            has_failed: false,
        })
    }

    /// Whether it gave up on a batch.
    pub const fn has_failed(&self) -> bool {
        self.has_failed
    }
}

impl NearestRows for SearchingWorker {
    fn nearest(
        &mut self,
        queries: &[Vec<f32>],
        limit: usize,
    ) -> Result<Vec<Vec<(u32, f32)>>, Failure> {
        let found = self
            .client
            .encode(&Queries { queries, limit })
            .inspect_err(|_| self.has_failed = true)?;
        Ok(found
            .into_iter()
            .map(|row| {
                let (pairs, _) = row.as_chunks::<2>();
                // A row's number travels as the bits of a float.
                pairs
                    .iter()
                    .map(|[row, score]| (row.to_bits(), *score))
                    .collect()
            })
            .collect())
    }
}

struct Queries<'a> {
    queries: &'a [Vec<f32>],
    limit: usize,
}

impl Batch for Queries<'_> {
    fn len(&self) -> usize {
        self.queries.len()
    }

    fn bytes(&self, index: usize) -> usize {
        size_of_val(self.queries[index].as_slice())
    }

    fn beginning(&self, _: usize) -> &str {
        "a vector"
    }

    fn request(&self, epoch: u64, indices: &[usize], _: Option<usize>) -> Request {
        Request::Nearest {
            epoch,
            count: indices.len(),
            queries: Floats(
                indices
                    .iter()
                    .flat_map(|index| self.queries[*index].iter().copied())
                    .collect(),
            ),
            limit: self.limit,
        }
    }
}
