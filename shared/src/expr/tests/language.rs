use super::check;

#[test]
fn literals_stand_for_themselves() {
    check(&[
        ("1", "1"),
        ("ctx.total < 1000", "true"),
        ("ctx.order.lines.map(l, l.n * 2)", "[2,4,6]"),
    ]);
}
