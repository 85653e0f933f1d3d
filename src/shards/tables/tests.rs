use super::*;

fn table(name: &str) -> TableName {
    TableName::of("public", name)
}

fn reference(name: &str) -> DeclaredTable {
    DeclaredTable { table: table(name), spread: Spread::Reference }
}

fn distributed(name: &str, column: &str, with: Option<&str>, shard_count: Option<u32>) -> DeclaredTable {
    let colocate_with = with.map(table);
    DeclaredTable { table: table(name), spread: Spread::Distributed { column: column.into(), colocate_with, shard_count } }
}

/// A table with a primary key over `id` and `customer`.
fn made(filled: bool) -> TableFacts {
    TableFacts {
        filled,
        has_identity: true,
        columns: ["id", "customer"].map(|column| (column.to_owned(), "bigint".to_owned())).into(),
        uniques: [("pk".to_owned(), BTreeSet::from(["id".to_owned(), "customer".to_owned()]))].into(),
        ..TableFacts::default()
    }
}

fn seen(tables: &[(&str, TableFacts)], citus: &[(&str, CitusTable)]) -> TablesSeen {
    TablesSeen {
        tables: tables.iter().map(|(name, facts)| (table(name), facts.clone())).collect(),
        citus: citus.iter().map(|(name, has)| (table(name), has.clone())).collect(),
        wal_level: "logical".into(),
    }
}

fn has(kind: TableKind, column: &str, colocation: u32, shard_count: u32) -> CitusTable {
    CitusTable { kind, column: column.into(), colocation, shard_count }
}

/// One line for each table.
fn told(declared: &[DeclaredTable], seen: &TablesSeen) -> Vec<String> {
    let line = |row: &TableRow| {
        let state = match &row.state {
            TableState::AsDeclared => "as declared".into(),
            TableState::NotCreated => "not created".into(),
            TableState::ToDo(task) => task.statement.clone(),
            TableState::Waits { waits_for } => format!("waits for {waits_for}"),
            TableState::Differs { found, statement } => format!("{found}; {statement}"),
            TableState::Blocked { obstacles } => obstacles.iter().map(|o| o.what.as_str()).collect::<Vec<_>>().join("; "),
            TableState::Undeclared { found } => format!("undeclared, {found}"),
        };
        format!("{}: {state}", row.table)
    };
    compare(declared, seen).iter().map(line).collect()
}

#[test]
fn reference_tables_go_first_and_each_table_after_its_partner() {
    let declared = [
        distributed("items", "customer", Some("orders"), None),
        distributed("orders", "customer", Some("customers"), None),
        reference("country"),
        distributed("customers", "id", None, Some(16)),
    ];
    let all = seen(&["items", "orders", "country", "customers"].map(|name| (name, made(name == "orders"))), &[]);
    assert_eq!(
        told(&declared, &all),
        [
            "country: select create_reference_table('public.country')",
            "customers: select create_distributed_table('public.customers', 'id', shard_count => 16)",
            "orders: select create_distributed_table_concurrently('public.orders', 'customer', colocate_with => 'public.customers')",
            "items: select create_distributed_table('public.items', 'customer', colocate_with => 'public.orders')",
        ]
    );
    let rows = compare(&declared, &all);
    let quick: Vec<_> = rows.iter().filter_map(TableRow::quick).map(|task| task.table.name()).collect();
    assert_eq!(
        quick,
        ["country", "customers"],
        "a filled table wants a consent of its own, and what lies with it comes after it"
    );
}

#[test]
fn what_is_not_there_yet_is_waited_for() {
    let declared = [distributed("orders", "customer", Some("customers"), None), distributed("customers", "id", None, None)];
    let half = seen(&[("orders", made(false))], &[]);
    assert_eq!(told(&declared, &half), ["customers: not created", "orders: waits for customers"]);
    assert_eq!(told(&declared, &TablesSeen::default()), ["customers: not created", "orders: not created"]);
    assert_eq!(told(&[], &seen(&[], &[("old", has(TableKind::Reference, "", 1, 1))])), Vec::<String>::new());
}

#[test]
fn what_is_as_declared_is_left_alone() {
    let declared = [
        reference("country"),
        distributed("customers", "id", None, None),
        distributed("orders", "customer", Some("customers"), None),
    ];
    let done = seen(
        &["country", "customers", "orders"].map(|name| (name, made(false))),
        &[
            ("country", has(TableKind::Reference, "", 2, 1)),
            ("customers", has(TableKind::Distributed, "id", 1, 32)),
            ("orders", has(TableKind::Distributed, "customer", 1, 32)),
            ("old", has(TableKind::Distributed, "key", 7, 8)),
            ("inner", has(TableKind::Local, "", 0, 1)),
        ],
    );
    assert_eq!(
        told(&declared, &done),
        ["country: as declared", "customers: as declared", "orders: as declared", "old: undeclared, by key, 8 shards",]
    );
}

#[test]
fn a_difference_names_the_statement_that_ends_it() {
    let declared = [
        reference("country"),
        distributed("customers", "id", None, Some(64)),
        distributed("orders", "customer", Some("customers"), None),
        distributed("events", "customer", None, Some(8)),
        distributed("visits", "customer", None, None),
    ];
    let names = ["country", "customers", "orders", "events", "visits"];
    let mut other = seen(
        &names.map(|name| (name, made(false))),
        &[
            ("country", has(TableKind::Distributed, "id", 1, 32)),
            ("customers", has(TableKind::Distributed, "id", 1, 32)),
            ("orders", has(TableKind::Distributed, "customer", 3, 32)),
            ("events", has(TableKind::Distributed, "customer", 4, 32)),
            ("visits", has(TableKind::Reference, "", 5, 1)),
        ],
    );
    other.tables.get_mut(&table("country")).expect("made above").referred_by = [table("orders")].into();
    assert_eq!(
        told(&declared, &other),
        [
            "country: by id, 32 shards; select undistribute_table('public.country', cascade_via_foreign_keys => true)",
            "customers: by id, 32 shards; select alter_distributed_table('public.customers', shard_count => 64, \
             cascade_to_colocated => true)",
            "orders: by customer, 32 shards; select alter_distributed_table('public.orders', colocate_with => 'public.customers')",
            "events: by customer, 32 shards; select alter_distributed_table('public.events', shard_count => 8)",
            "visits: reference; select undistribute_table('public.visits')",
        ]
    );
    other.citus.get_mut(&table("orders")).expect("made above").column = "id".into();
    assert!(
        told(&declared, &other)[2]
            .ends_with("select alter_distributed_table('public.orders', distribution_column => 'customer')")
    );
}

#[test]
fn a_filled_table_wants_what_logical_replication_wants() {
    let declared = [distributed("orders", "customer", None, None)];
    let facts = TableFacts { has_identity: false, referred_by: [table("items")].into(), ..made(true) };
    let mut with_rows = seen(&[("orders", facts)], &[]);
    with_rows.wal_level = "replica".into();
    let [row] = compare(&declared, &with_rows).try_into().expect("one row");
    let TableState::Blocked { obstacles } = row.state else { panic!("{row:?}") };
    let what: Vec<_> = obstacles.iter().map(|o| o.what.as_str()).collect();
    assert_eq!(
        what,
        [
            "orders has rows, and neither a primary key nor a replica identity",
            "orders has rows, and wal_level is replica: carrying them needs logical",
            "orders has rows, and items refers to it by a foreign key",
        ]
    );
    assert!(obstacles[0].way_out.contains("select create_distributed_table('public.orders', 'customer')"), "{obstacles:#?}");
    // None of this matters to a table without rows.
    with_rows.tables.get_mut(&table("orders")).expect("made above").filled = false;
    assert_eq!(told(&declared, &with_rows), ["orders: select create_distributed_table('public.orders', 'customer')"]);
}

#[test]
fn a_filled_table_may_be_referred_to_by_one_that_is_distributed() {
    let declared = [distributed("items", "customer", None, None), distributed("orders", "customer", None, None)];
    let facts = TableFacts { referred_by: [table("items")].into(), ..made(true) };
    let seen = seen(&[("items", made(true)), ("orders", facts)], &[("items", has(TableKind::Distributed, "customer", 1, 32))]);
    assert_eq!(
        told(&declared, &seen),
        ["items: as declared", "orders: select create_distributed_table_concurrently('public.orders', 'customer')"]
    );
}

#[test]
fn what_citus_would_refuse_is_found_before() {
    let declared = [
        reference("country"),
        reference("view"),
        distributed("customers", "id", None, None),
        distributed("orders", "customer", Some("customers"), None),
        distributed("events", "nothing", None, None),
        distributed("visits", "customer", None, None),
    ];
    let mut facts = seen(
        &["country", "view", "customers", "orders", "events", "visits"].map(|name| (name, made(false))),
        &[("customers", has(TableKind::Distributed, "id", 1, 32))],
    );
    let mut change =
        |name: &str, change: &dyn Fn(&mut TableFacts)| change(facts.tables.get_mut(&table(name)).expect("made above"));
    change("country", &|facts| facts.refers_to = [table("customers")].into());
    change("view", &|facts| facts.unfit = "a view".into());
    change("orders", &|facts| {
        facts.columns.insert("customer".into(), "text".into());
    });
    change("visits", &|facts| {
        facts.uniques = [("visits_pkey".to_owned(), BTreeSet::from(["id".to_owned()]))].into();
        facts.refers_to = [table("pages"), table("country")].into();
    });
    assert_eq!(
        told(&declared, &facts),
        [
            "view: view is a view",
            "customers: as declared",
            "country: country refers to customers by a foreign key, and customers is distributed",
            "orders: orders cannot lie together with customers: their columns are text and bigint",
            "events: events has no column nothing",
            "visits: visits_pkey of visits is unique over (id), without customer; visits refers to country by a foreign key, and \
             country is on the coordinators alone; visits refers to pages by a foreign key, and pages is on the coordinators alone",
        ]
    );
}

#[test]
fn a_table_that_was_left_half_way_is_gone_on_with() {
    // What create_distributed_table_concurrently leaves behind when it fails: the coordinators' own table, known to Citus.
    let declared = [distributed("orders", "customer", None, None)];
    let half = seen(&[("orders", made(true))], &[("orders", has(TableKind::Local, "", 0, 1))]);
    assert_eq!(told(&declared, &half), ["orders: select create_distributed_table_concurrently('public.orders', 'customer')"]);
}
