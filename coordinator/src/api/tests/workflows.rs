//! Workflows as they are read back.

use rejoin_shared::json::Json;

use super::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_listed_and_read_with_its_description_which_makes_a_version() {
    let server = Server::start().await;
    let put = async |description: &str| {
        let document = format!("workflow: told\n{description}steps: [ {{ set: s, values: {{ x: 1 }} }} ]\n");
        let put = server.call("PUT /v1/workflows", "", &document).await;
        assert_eq!(put.status, 201, "{}", put.body);
    };
    put("").await;
    let read = async |what: &str| server.call(&format!("GET /v1/workflows{what}"), "", "").await;
    assert_eq!(read("/told").await.json().get("description"), Some(&Json::Null));
    put("description: \"What it does, and why: ü\"\n").await;
    let described = Some(Json::str("What it does, and why: ü"));
    let newest = read("/told").await.json();
    assert_eq!(newest.get("description").cloned(), described);
    assert_eq!(newest.get("version"), Some(&Json::Int(2)));
    let definition = newest
        .get("definition")
        .and_then(|definition| definition.get("description"));
    assert_eq!(definition.cloned(), described);
    assert_eq!(
        read("/told/versions/1").await.json().get("description"),
        Some(&Json::Null)
    );
    let listed = read("").await.json();
    let items = listed.get("items").and_then(Json::as_list).unwrap_or_default();
    assert_eq!((items.len(), items[0].get("description").cloned()), (1, described));
    server.stop().await;
}
