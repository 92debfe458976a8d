//! The API's description, made from the code that answers.

use super::{events, experiments, failures, problem, prometheus, studies, window};
use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Document,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ragicamp",
        description = "How studies of question answering stand, what failed and why. Every request only reads."
    ),
    paths(
        studies::list,
        studies::one,
        experiments::list,
        experiments::one,
        experiments::predictions,
        failures::details,
        failures::report,
        window::log,
        failures::contract,
        failures::local_contract,
        events::stream,
        prometheus::metrics,
        healthz,
        openapi,
    ),
    modifiers(&Common)
)]
struct Description;

/// What all requests have in common.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        components.schemas.extend([problem::schema()]);
        let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components
            .security_schemes
            .insert("token".to_owned(), token.into());
        // A server without a token asks for none.
        document.security = Some(vec![
            SecurityRequirement::default(),
            SecurityRequirement::new("token", Vec::<String>::new()),
        ]);
    }
}

/// Whether the server answers at all.
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, content_type = "text/plain", body = String)))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// This description (OpenAPI 3.1).
#[utoipa::path(get, path = "/api/openapi.json", tag = "server", responses((status = 200, body = Object), problem::Problem))]
pub async fn openapi() -> Json<Document> {
    Json(Description::openapi())
}
