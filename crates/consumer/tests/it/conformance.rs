//! The test kit's tables in memory and DynamoDB do the same: one suite, run against both.

use aws_sdk_dynamodb::types::TimeToLiveSpecification;
use oncebox_consumer::{
    DynamoDbDedupe,
    test_kit::{MemoryTables, conformance::failures},
};

use crate::stack::Tables;

/// Where LocalStack's emulation is more lenient than DynamoDB is documented to be, or answers with an error of its
/// own (500). The tables in memory do as DynamoDB does.
const GAPS_OF_LOCALSTACK: [&str; 7] = [
    // `<` of a number and a string: 500.
    "conditions::another_type_is_neither_less_nor_more",
    // Booleans and sets are ordered.
    "conditions::only_what_has_an_order_is_ordered",
    // The request is refused, without reasons by position.
    "changes::a_sum_with_something_else_is_canceled",
    // 500.
    "changes::an_update_changes_something",
    "changes::no_set_is_empty",
    "transactions::none_is_refused",
    "transactions::more_than_four_mebibytes_are_refused",
];

/// Exactly `gaps` fail: one that has been closed is to be struck off.
fn assert_only(failures: &[(&'static str, String)], gaps: &[&str]) {
    let names: Vec<&str> = failures.iter().map(|(name, _)| *name).collect();
    let told: Vec<String> = failures
        .iter()
        .map(|(name, found)| format!("{name}: {found}"))
        .collect();
    assert_eq!(names, gaps, "\n{}", told.join("\n"));
}

#[tokio::test]
async fn the_tables_in_memory_keep_what_the_seam_promises() {
    let tables = MemoryTables::new()
        .table("effects", &["pk"])
        .table("sorted", &["pk", "sk"]);
    assert_only(&failures(&tables.dedupe(), "effects", "sorted").await, &[]);
}

#[tokio::test]
async fn dynamodb_keeps_what_the_seam_promises() {
    let tables = Tables::new().await;
    let ttl = TimeToLiveSpecification::builder().attribute_name("ttl").enabled(true);
    let enable = tables.client.update_time_to_live().table_name(&tables.dedupe);
    let enable = enable.time_to_live_specification(ttl.build().unwrap());
    enable.send().await.unwrap();
    let dedupe = DynamoDbDedupe::new(tables.client.clone(), &tables.dedupe);
    assert_only(
        &failures(&dedupe, &tables.effects, &tables.sorted().await).await,
        &GAPS_OF_LOCALSTACK,
    );
}
