use super::{Where, here};
use crate::{
    cli::{
        CliError, ExitStatus,
        run::say,
        study_file::{self, Selection},
        words::{positive, whole},
    },
    domain::{
        EMBEDDING_MODELS, Failure, FailureClass, RetrieverKind, RetrieverSpec, embedding_model,
    },
    runner::{Resources, Shelf},
};
use anyhow::anyhow;
use clap::{Args, ValueEnum};
use std::{
    collections::BTreeSet, io::Write, num::NonZeroUsize, ops::ControlFlow, path::PathBuf,
    time::Instant,
};

/// Overlap where none is given.
const OVERLAP: usize = 50;
const SIZE: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Bm25,
    Dense,
    Hybrid,
    Hierarchical,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Cut {
    None,
    Fixed,
    Sentence,
    Recursive,
    Token,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum IndexType {
    Flat,
    Hnsw,
}

#[derive(Debug, Args)]
#[command(
    group(clap::ArgGroup::new("what").required(true).args(["study", "corpus"])),
    after_help = "\
Examples:
  ragicamp index build study.yaml
  ragicamp index build --corpus passages.jsonl
  ragicamp index build --corpus docs/ --kind hybrid --embedding minilm --chunking recursive"
)]
pub struct BuildArgs {
    /// A study, whose retrievers are built.
    study: Option<PathBuf>,
    #[command(flatten)]
    selection: Selection,
    /// A corpus: JSON lines with id, title and text, or a directory of texts.
    #[arg(long, conflicts_with = "study")]
    corpus: Option<String>,
    /// The kind of search.
    #[arg(long, value_enum, default_value = "bm25", requires = "corpus")]
    kind: Kind,
    /// The embedding model: minilm, mpnet, e5, or a model on the hub.
    #[arg(long, value_name = "MODEL", requires = "corpus")]
    embedding: Option<String>,
    /// How documents are cut [default: none for files, recursive for names]
    #[arg(long, value_enum, requires = "corpus")]
    chunking: Option<Cut>,
    /// Characters (or tokens) per chunk [default: 512]
    #[arg(long, value_name = "N", requires = "corpus", value_parser = positive)]
    chunk_size: Option<NonZeroUsize>,
    /// Characters (or tokens) that neighbouring chunks share [default: 50]
    #[arg(long, value_name = "N", requires = "corpus", value_parser = whole)]
    chunk_overlap: Option<usize>,
    /// How vectors are searched [default: hnsw from a million on]
    #[arg(long, value_enum, requires = "corpus")]
    index_type: Option<IndexType>,
    /// Keep vectors in half precision.
    #[arg(long, requires = "corpus")]
    f16: bool,
    /// Documents at most.
    #[arg(long, value_name = "N", requires = "corpus", value_parser = positive)]
    max_docs: Option<NonZeroUsize>,
    /// What `index search` calls it [default: from the corpus, the model and the chunking]
    #[arg(long, requires = "corpus")]
    name: Option<String>,
    #[command(flatten)]
    place: Where,
}

pub fn run(args: &BuildArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let (retrievers, bases) = match &args.study {
        Some(study) => {
            let file = study_file::read(study)?;
            let selected = args.selection.select(&file.study)?;
            let mut seen = BTreeSet::new();
            let retrievers: Vec<RetrieverSpec> = selected
                .into_iter()
                .filter_map(|spec| spec.retriever)
                .filter(|retriever| {
                    seen.insert(serde_json::to_string(retriever).unwrap_or_default())
                })
                .collect();
            if retrievers.is_empty() {
                return Err(CliError::nothing_selected(format!(
                    "no experiment that is selected of {} retrieves",
                    study.display()
                )));
            }
            (retrievers, file.bases)
        }
        None => (vec![retriever(args)?], here()),
    };
    let resources = Resources::new(bases.clone());
    if let Some(corpus) = &args.corpus
        && !resources.resolve(corpus).exists()
        && !resources.is_on_hub(corpus)
    {
        return Err(CliError::usage(anyhow!(
            "--corpus: there is no corpus '{corpus}'; name a file, a directory, simple or en"
        )));
    }
    let mut shelf = Shelf::new(
        args.place.cache.path(),
        &[],
        Box::new(args.place.encoders(bases)?),
    );
    let mut worst = None;
    for retriever in &retrievers {
        let started = Instant::now();
        let built = shelf.prepare(retriever, &resources, &mut |remark| {
            if let Some(remark) = remark {
                eprintln!("{remark}");
            }
            ControlFlow::Continue(())
        });
        match built {
            Ok(identity) => say(
                out,
                &format!(
                    "{}: here ({identity}), {:.1} s",
                    retriever.name,
                    started.elapsed().as_secs_f64()
                ),
            )?,
            // One that was asked for by hand is all there is to say.
            Err(failure) if args.study.is_none() => {
                shelf.release_models();
                let error = anyhow!("{}", failure.message);
                return Err(match failure.class {
                    FailureClass::Environment => CliError::environment(error),
                    _ => CliError::usage(error),
                });
            }
            Err(failure) => {
                say(out, &format!("{}: {}", retriever.name, failure.message))?;
                let is_worse = |known: &Failure| known.class == FailureClass::Environment;
                if !worst.as_ref().is_some_and(is_worse) {
                    worst = Some(failure);
                }
            }
        }
    }
    shelf.release_models();
    Ok(match worst {
        None => ExitStatus::OK,
        Some(failure) if failure.class == FailureClass::Environment => ExitStatus(4),
        Some(_) => ExitStatus(1),
    })
}

fn retriever(args: &BuildArgs) -> Result<RetrieverSpec, CliError> {
    let corpus = args.corpus.clone().unwrap_or_default();
    let kind = match args.kind {
        Kind::Bm25 => RetrieverKind::Bm25,
        Kind::Dense => RetrieverKind::Dense,
        Kind::Hybrid => RetrieverKind::Hybrid,
        Kind::Hierarchical => RetrieverKind::Hierarchical,
    };
    let embedding = match (&args.embedding, kind) {
        (Some(_), RetrieverKind::Bm25) => {
            return Err(CliError::usage(anyhow!(
                "--embedding: bm25 has no embeddings; write --kind dense"
            )));
        }
        (None, RetrieverKind::Bm25) => None,
        (None, _) => {
            return Err(CliError::usage(anyhow!(
                "--kind {kind:?} needs --embedding: write minilm, mpnet, e5 or a model on the hub",
            )));
        }
        (Some(model), _) => {
            embedding_model(model)
                .map_err(|error| CliError::usage(anyhow!("--embedding: {error}")))?;
            let full = EMBEDDING_MODELS.iter().find(|(short, _)| short == model);
            Some(full.map_or_else(|| model.clone(), |(_, full)| (*full).to_owned()))
        }
    };
    let is_path = corpus.contains(['/', '.']) || std::path::Path::new(&corpus).exists();
    let cut = args.chunking.unwrap_or(match is_path {
        true => Cut::None,
        false => Cut::Recursive,
    });
    let (chunking, chunk_size, chunk_overlap) = match cut {
        Cut::None if args.chunk_size.is_some() || args.chunk_overlap.is_some() => {
            return Err(CliError::usage(anyhow!(
                "passages that are not cut have no chunk size; write --chunking recursive"
            )));
        }
        Cut::None => ("none", 0, 0),
        other => {
            let word = match other {
                Cut::Fixed => "fixed",
                Cut::Sentence => "sentence",
                Cut::Token => "token",
                _ => "recursive",
            };
            let size = args.chunk_size.map_or(SIZE, NonZeroUsize::get);
            let overlap = OVERLAP.min(size.saturating_sub(1));
            (word, size, args.chunk_overlap.unwrap_or(overlap))
        }
    };
    let mut spec = RetrieverSpec {
        name: String::new(),
        kind,
        corpus,
        embedding,
        chunking: chunking.to_owned(),
        chunk_size,
        chunk_overlap,
        options: Default::default(),
    };
    if let Some(index_type) = args.index_type {
        let word = match index_type {
            IndexType::Flat => "flat",
            IndexType::Hnsw => "hnsw",
        };
        spec.options.insert("index_type".to_owned(), word.into());
    }
    if args.f16 {
        spec.options.insert("vector_dtype".to_owned(), "f16".into());
    }
    if let Some(count) = args.max_docs {
        spec.options
            .insert("max_docs".to_owned(), count.get().into());
    }
    spec.name = args.name.clone().unwrap_or_else(|| name(&spec, args));
    Ok(spec)
}

/// As studies name retrievers that have no name.
fn name(spec: &RetrieverSpec, args: &BuildArgs) -> String {
    let stem = |text: &str| {
        let path = std::path::Path::new(text);
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        stem.unwrap_or_else(|| text.to_owned())
    };
    let word = match spec.kind {
        RetrieverKind::Bm25 => "bm25".to_owned(),
        RetrieverKind::Dense => stem(args.embedding.as_deref().unwrap_or_default()),
        RetrieverKind::Hybrid => "hybrid".to_owned(),
        RetrieverKind::Hierarchical => "hierarchical".to_owned(),
        // Not a kind that can be asked for.
        RetrieverKind::Gold => "gold".to_owned(),
    };
    match spec.chunk_size {
        0 => format!("{}_{word}", stem(&spec.corpus)),
        size => format!("{}_{word}_{}_{size}", stem(&spec.corpus), spec.chunking),
    }
}
