//! The web panel: files that are part of the program.

use super::problem::Problem;
use crate::server::asked::Named;
use axum::{
    http::header,
    response::{IntoResponse, Response},
};

const JS: &str = "text/javascript; charset=utf-8";

/// Every file of the panel: its name below `/static/`, its type, its text.
macro_rules! files {
    ($($name:literal: $kind:expr),+ $(,)?) => {
        &[$(($name, $kind, include_str!(concat!("panel/", $name)))),+]
    };
}

const FILES: &[(&str, &str, &str)] = files! {
    "api.js": JS,
    "dom.js": JS,
    "errors.js": JS,
    "experiment.js": JS,
    "highlight.js": JS,
    "icon.svg": "image/svg+xml",
    "log.js": JS,
    "main.js": JS,
    "predictions.js": JS,
    "settings.js": JS,
    "studies.js": JS,
    "study.js": JS,
    "style.css": "text/css; charset=utf-8",
    "timeline.js": JS,
};

pub async fn page() -> Response {
    answer("text/html; charset=utf-8", include_str!("panel/index.html"))
}

pub async fn file(Named(name): Named) -> Result<Response, Problem> {
    FILES
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(_, kind, text)| answer(kind, text))
        .ok_or_else(|| Problem::not_found("the panel has no such file"))
}

fn answer(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
