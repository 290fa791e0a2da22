//! `/v1/workflows`

use serde_json::json;

use super::parameters::{flag, number, page};
use crate::api::describe::{Route, get, put};
use crate::api::page::Page;
use crate::api::problem::Code;
use crate::api::workflows::{self, Registered, WorkflowView};
use crate::read::graph::GraphView;

pub fn routes() -> Vec<Route> {
    let text = json!({"type": "string"});
    let object = json!({"type": "object", "description": "See /docs/definition."});
    let documents = [
        ("application/yaml", text.clone()),
        ("application/json", object),
        ("text/plain", text),
    ];
    vec![
        put("/v1/workflows", "putWorkflow", workflows::put)
            .says(
                "Registers a definition",
                "The same content again is the same version. Without a content type YAML or JSON is read.",
            )
            .query([flag("dry_run", "Only check.")])
            .content(documents, true)
            .answers::<Registered>(200, "The version was known, or it is a dry run.")
            .answers::<Registered>(201, "A new version.")
            .problems([Code::InvalidDefinition])
            .admin(),
        get("/v1/workflows", "listWorkflows", workflows::list)
            .says("Lists the newest versions of all workflows", "")
            .query(page())
            .answers::<Page<WorkflowView>>(200, "One page, by name."),
        get("/v1/workflows/{name}", "getWorkflow", workflows::newest)
            .says("Reads the newest version", "")
            .answers::<WorkflowView>(200, "The version."),
        get(
            "/v1/workflows/{name}/versions/{version}",
            "getWorkflowVersion",
            workflows::version,
        )
        .says("Reads a version", "")
        .answers::<WorkflowView>(200, "The version."),
        get("/v1/workflows/{name}/graph", "getWorkflowGraph", workflows::graph)
            .says("Shows a workflow's structure", "")
            .query([number("version", 1, "A version; without it the newest.")])
            .answers::<GraphView>(200, "Its nodes, without states."),
    ]
}
