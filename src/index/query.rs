/// Something that is searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Query<'q> {
    /// The text that is searched for: the question, or what an agent made of
    /// it.
    pub text: &'q str,
    /// The question that it is searched for; what a reranker compares passages
    /// with.
    pub question: &'q str,
}

impl<'q> Query<'q> {
    /// A question that is searched for as it is.
    pub fn plain(question: &'q str) -> Self {
        Self {
            text: question,
            question,
        }
    }
}
