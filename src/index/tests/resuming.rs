//! Builds that are stopped, killed, damaged, or that several want at once.

use super::*;

const COUNT: usize = 1_500;

/// Builds until so many passages have vectors, and stops there.
fn stop_after(place: &Place, spec: &RetrieverSpec, passages: u64) -> Fake {
    let mut encoders = Fake::new();
    let stopped = place.open_telling(spec, &mut encoders, &mut |progress| match progress {
        BuildProgress::Embedded { done, .. } if done >= passages => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(matches!(stopped, Err(IndexError::Interrupted)));
    encoders
}

fn partial(place: &Place) -> PathBuf {
    let names = place.indexes();
    let name = names.iter().find(|name| name.starts_with(".partial-"));
    place.cache().join(name.unwrap())
}

#[test]
fn an_interrupted_build_goes_on_where_it_stopped_and_ends_the_same() {
    let place = Place::with_documents(COUNT);
    let spec = place.spec(RetrieverKind::Dense, "none");
    let done = stop_after(&place, &spec, 1_000).embedded;
    assert_eq!(done, 1_024);
    let mut encoders = Fake::new();
    let (index, built) = place.open_with(&spec, &mut encoders).unwrap();
    assert_eq!(
        encoders.embedded,
        COUNT - 1_024,
        "nothing is computed twice"
    );
    assert_eq!(built, ["dense"]);

    let other = Place::with_documents(COUNT);
    let (whole, _) = other
        .open(&other.spec(RetrieverKind::Dense, "none"))
        .unwrap();
    let vectors = |place: &Place, index: &Index| {
        fs::read(place.cache().join(&index.directories()[0]).join("vectors")).unwrap()
    };
    assert!(vectors(&place, &index) == vectors(&other, &whole));
}

#[test]
fn a_build_of_words_goes_on_where_it_stopped_and_finds_the_same() {
    let whole = Place::with_documents(COUNT);
    let (whole, _) = whole
        .open(&whole.spec(RetrieverKind::Bm25, "none"))
        .unwrap();
    for damage in ["nothing", "a segment", "how far it is"] {
        let place = Place::with_documents(COUNT);
        let spec = place.spec(RetrieverKind::Bm25, "none");
        let stopped = place.open_telling(&spec, &mut Fake::new(), &mut |progress| match progress {
            BuildProgress::Indexed { passages, .. } if passages >= 700 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        assert!(matches!(stopped, Err(IndexError::Interrupted)));
        let partial = partial(&place);
        match damage {
            "a segment" => {
                let files = fs::read_dir(&partial).unwrap().flatten();
                let segment = files.map(|file| file.path()).find(|path| {
                    path.extension()
                        .is_some_and(|extension| extension == "store")
                });
                let segment = segment.unwrap();
                let mut bytes = fs::read(&segment).unwrap();
                bytes[3] ^= 1;
                fs::write(&segment, bytes).unwrap();
            }
            "how far it is" => fs::write(partial.join("meta.json"), "{").unwrap(),
            _ => {}
        }
        let mut first = None;
        let index = place.open_telling(&spec, &mut Fake::new(), &mut |progress| {
            if let BuildProgress::Indexed { passages, .. } = progress {
                first.get_or_insert(passages);
            }
            ControlFlow::Continue(())
        });
        let index = index.unwrap();
        let kept = if damage == "nothing" { 700 } else { 0 };
        assert!(
            (kept..=kept + 100).contains(&first.unwrap()),
            "{damage}: {first:?}"
        );
        for query in ["word7 common", "word1499 ten9", "ten3"] {
            assert_eq!(
                find(&index, query, 5),
                find(&whole, query, 5),
                "{damage}: {query}"
            );
        }
        assert!(
            place
                .indexes()
                .iter()
                .all(|name| !name.starts_with('.') || name == ".locks")
        );
    }
}

#[test]
fn what_a_kill_tore_is_computed_again_and_what_is_whole_is_kept() {
    for (damage, kept) in [
        // A batch was being written.
        ("grow vectors", 1_024),
        // It was written and its line was not.
        ("cut log", 512),
        // The disk lost a block of it.
        ("flip bit", 512),
        ("no log", 0),
    ] {
        let place = Place::with_documents(COUNT);
        let spec = place.spec(RetrieverKind::Dense, "none");
        stop_after(&place, &spec, 1_000);
        let vectors = partial(&place).join("vectors");
        let log = partial(&place).join("batches.log");
        let mut bytes = fs::read(&vectors).unwrap();
        match damage {
            "grow vectors" => bytes.extend_from_slice(&[7; 1_000]),
            "cut log" => {
                let text = fs::read_to_string(&log).unwrap();
                fs::write(&log, &text[..text.len() - 3]).unwrap();
            }
            "flip bit" => *bytes.last_mut().unwrap() ^= 1,
            _ => fs::remove_file(&log).unwrap(),
        }
        fs::write(&vectors, bytes).unwrap();
        let mut encoders = Fake::new();
        let (index, _) = place.open_with(&spec, &mut encoders).unwrap();
        assert_eq!(encoders.embedded, COUNT - kept, "{damage}");
        assert_eq!(find(&index, "word1499 ten9", 1)[0].id, "p1499", "{damage}");
    }
}

#[test]
fn the_children_of_an_interrupted_build_stay_with_their_parents() {
    let corpus: String = (0..400)
        .map(|i| format!("{{\"id\":\"p{i}\",\"text\":\"alpha{i} is here. beta{i} is there.\"}}\n"))
        .collect();
    let place = Place::new(&corpus);
    let mut spec = place.spec(RetrieverKind::Hierarchical, "none");
    spec.options.insert("child_chunk_size".into(), 20.into());
    stop_after(&place, &spec, 500);
    let mut encoders = Fake::new();
    let (index, _) = place.open_with(&spec, &mut encoders).unwrap();
    assert_eq!(encoders.embedded, 800 - 512);
    // Words may share a place in the fake's vectors, so that not every text is
    // found first; what is found is what a build in one go finds.
    let whole = Place::new(&corpus);
    let (whole, _) = whole.open_with(&spec, &mut Fake::new()).unwrap();
    for number in 0..400 {
        let query = format!("beta{number} is there");
        let ids = |index: &Index| -> Vec<String> {
            let found = find(index, &query, 3);
            found.into_iter().map(|passage| passage.id).collect()
        };
        assert_eq!(ids(&index), ids(&whole), "{query}");
    }
    assert_eq!(find(&index, "beta10 is there", 1)[0].id, "p10");
}

#[test]
fn several_that_want_the_same_vectors_compute_them_once() {
    let place = Place::with_documents(COUNT);
    let spec = place.spec(RetrieverKind::Dense, "none");
    let embedded: usize = std::thread::scope(|scope| {
        let builders: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut encoders = Fake::new();
                    let (index, _) = place.open_with(&spec, &mut encoders).unwrap();
                    let embedded = encoders.embedded;
                    assert_eq!(find(&index, "word7 ten7", 1)[0].id, "p0007");
                    embedded
                })
            })
            .collect();
        builders
            .into_iter()
            .map(|builder| builder.join().unwrap())
            .sum()
    });
    assert_eq!(embedded, COUNT);
}

#[test]
fn a_graph_goes_on_after_its_last_whole_shard() {
    let place = Place::with_documents(5_000);
    let (index, _) = place
        .open(&place.spec(RetrieverKind::Dense, "none"))
        .unwrap();
    let directory = place.cache().join(&index.directories()[0]);
    let vectors = vectors::Vectors::open(&directory).unwrap();
    let build = |stop_at: u64| {
        let mut first = None;
        let mut tell = |progress| match progress {
            BuildProgress::Linked { done, .. } if done > 0 => {
                first.get_or_insert(done);
                match done >= stop_at {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            }
            _ => ControlFlow::Continue(()),
        };
        let built = graph::open_with(&place.cache(), "test", &vectors, 1, &mut tell);
        (built.is_ok(), first)
    };
    assert_eq!(build(4_000), (false, Some(2_000)));
    assert_eq!(build(u64::MAX), (true, Some(4_000)));
}

#[test]
fn a_model_that_gives_nonsense_is_not_indexed() {
    struct Nonsense(f32);
    impl crate::domain::Embedder for Nonsense {
        fn embed(
            &mut self,
            texts: &[&str],
            _role: crate::domain::TextRole,
        ) -> Result<Vec<Vec<f32>>, crate::domain::Failure> {
            Ok(vec![
                vec![self.0; 2];
                texts.len() - usize::from(self.0 == 1.0)
            ])
        }
        fn dimension(&self) -> usize {
            if self.0 == 2.0 { 3 } else { 2 }
        }
        fn identity(&self) -> &str {
            "nonsense"
        }
    }
    impl Encoders for Nonsense {
        fn embedder(
            &mut self,
            _model: &str,
        ) -> Result<&mut dyn crate::domain::Embedder, crate::domain::Failure> {
            Ok(self)
        }
        fn scorer(
            &mut self,
            model: &str,
        ) -> Result<&mut dyn crate::domain::PairScorer, crate::domain::Failure> {
            panic!("nobody asks for {model}")
        }
        fn release(&mut self) {}
    }
    for (value, words) in [
        (
            f32::NAN,
            "a vector that is no number, among passages 0 to 2",
        ),
        (1.0, "gave 2 vectors for 3 texts"),
        (2.0, "a vector of 2 numbers, not 3"),
    ] {
        let place = Place::new(THREE);
        let spec = place.spec(RetrieverKind::Dense, "none");
        let error = place.open_with(&spec, &mut Nonsense(value)).err().unwrap();
        assert!(error.to_string().contains(words), "{error}");
    }
}
