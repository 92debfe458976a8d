//! What stands in for retrieval where it was left out of the build.

use super::resources::Resources;
use crate::{
    domain::{Encoders, ExperimentSpec, Failure, FailureClass, Passage, RetrieverSpec},
    index::Query,
};
use std::{ops::ControlFlow, path::PathBuf};

/// Hears remarks; `Break` stops what is being built or searched.
pub type Remark<'a> = dyn FnMut(Option<&str>) -> ControlFlow<()> + 'a;

/// Has no indexes.
pub struct Shelf;

impl Shelf {
    /// A shelf without an index, for good.
    pub fn new(
        _place: PathBuf,
        _specs: &[ExperimentSpec],
        _encoders: Box<dyn Encoders + Send>,
    ) -> Self {
        Self
    }

    /// There are no indexes.
    ///
    /// # Errors
    /// Always.
    pub fn prepare(
        &mut self,
        _retriever: &RetrieverSpec,
        _resources: &Resources,
        _remark: &mut Remark<'_>,
    ) -> Result<String, Failure> {
        Err(Failure::new(
            FailureClass::Permanent,
            "this program was built without the feature index",
        ))
    }

    /// There are none.
    pub fn identity(&self, _retriever: &RetrieverSpec) -> Option<String> {
        None
    }

    /// Nothing for an experiment without retrieval.
    ///
    /// # Errors
    /// For every other one.
    pub fn rank(
        &mut self,
        spec: &ExperimentSpec,
        _queries: &[Query<'_>],
        resources: &Resources,
        remark: &mut Remark<'_>,
    ) -> Result<(), Failure> {
        match &spec.retriever {
            Some(retriever) => self.prepare(retriever, resources, remark).map(|_| ()),
            None => Ok(()),
        }
    }

    /// No passages.
    ///
    /// # Errors
    /// None.
    pub fn passages(
        &self,
        _spec: &ExperimentSpec,
        _query: Query<'_>,
    ) -> Result<Vec<Passage>, Failure> {
        Ok(Vec::new())
    }

    /// There are no models.
    pub fn release_models(&mut self) {}
}
