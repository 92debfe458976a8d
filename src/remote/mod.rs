//! Models behind servers that speak OpenAI's API: OpenAI itself, vLLM, TGI,
//! Ollama, llama.cpp and others.
//!
//! A batch is that many requests at once. What may pass (too many requests, a
//! server error, a connection that broke off) is tried again here, with the
//! wait that the server asks for; what does not pass fails the batch, and the
//! executor decides as for any other model.

mod answers;
mod body;
mod openai;
mod patience;
mod reply;
mod server;
#[cfg(test)]
mod tests;

pub use answers::AnswerCache;
pub use openai::OpenAi;
