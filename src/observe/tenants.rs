//! What each tenant asked of its node lately, from every node, through the coordinators' leader.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::shards::{Catalog, failed, group, told};
use crate::quantity::whole_millis;
use crate::remote::sql::SqlError;
use crate::topology::GroupId;
use crate::traffic::{Tenant, Usage};

/// Every node is asked, and each answers at once.
const ASK: Duration = Duration::from_secs(15);

/// Citus' own view leaves out nodes that do not answer; these do not go unmentioned here.
const TENANTS: &str = "select n.groupid::int4, n.nodename, r.success, r.result
    from run_command_on_all_nodes($$ select json_build_object(
        'track', current_setting('citus.stat_tenants_track'),
        'period_s', (select setting::int8 from pg_settings where name = 'citus.stat_tenants_period'),
        'tenants', (select coalesce(json_agg(t), '[]') from citus_stat_tenants_local t)) $$) r
    join pg_dist_node n using (nodeid) order by 1";

const COLOCATED: &str =
    "select p.colocationid::int4, array_agg(p.logicalrelid::regclass::text order by p.logicalrelid::regclass::text)
    from pg_dist_partition p join pg_class c on c.oid = p.logicalrelid
    where p.colocationid > 0 and not c.relispartition group by 1";

const RESET: &str = "select n.nodename, r.success, r.result
    from run_command_on_all_nodes('select citus_stat_tenants_local_reset()') r join pg_dist_node n using (nodeid)";

/// Tenants of all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantsSeen {
    /// In no order.
    pub tenants: Vec<Tenant>,
    /// What Citus calls a period, in seconds; 0 where no node told.
    pub period_s: u64,
    /// Nodes that count nothing.
    pub not_counting: Vec<String>,
    /// Nodes that did not answer, each with why.
    pub silent: Vec<(String, String)>,
}

/// What a node tells.
#[derive(Debug, Deserialize)]
struct Told {
    track: String,
    period_s: u64,
    tenants: Vec<Counted>,
}

/// A line of citus_stat_tenants_local.
#[derive(Debug, Deserialize)]
struct Counted {
    colocation_id: u32,
    tenant_attribute: Option<String>,
    read_count_in_this_period: u64,
    read_count_in_last_period: u64,
    query_count_in_this_period: u64,
    query_count_in_last_period: u64,
    cpu_usage_in_this_period: f64,
    cpu_usage_in_last_period: f64,
}

impl Catalog {
    /// What tenants asked for in this period and the last one.
    pub async fn tenants(&self) -> Result<TenantsSeen, SqlError> {
        let colocated = self.rows(COLOCATED, &[], ASK).await?;
        let tables: BTreeMap<u32, Vec<String>> =
            colocated.iter().map(|row| (u32::try_from(row.get::<_, i32>(0)).unwrap_or_default(), row.get(1))).collect();
        let mut seen = TenantsSeen::default();
        for row in &self.rows(TENANTS, &[], ASK).await? {
            let (group, node): (GroupId, String) = (group(row, 0), row.get(1));
            match told::<Told>(row) {
                Ok(told) => {
                    seen.period_s = told.period_s;
                    seen.tenants.extend(told.tenants.into_iter().map(|counted| tenant(counted, group, &node, &tables)));
                    if told.track == "none" {
                        seen.not_counting.push(node);
                    }
                }
                Err(why) => seen.silent.push((node, why)),
            }
        }
        Ok(seen)
    }

    /// Has every node count from zero; nodes that failed, each with why.
    pub async fn forget_tenants(&self) -> Result<Vec<(String, String)>, SqlError> {
        let rows = self.rows(RESET, &[], ASK).await?;
        Ok(failed(&rows))
    }
}

fn tenant(counted: Counted, group: GroupId, node: &str, tables: &BTreeMap<u32, Vec<String>>) -> Tenant {
    let usage = |reads: u64, all: u64, cpu_seconds: f64| {
        let cpu = Duration::try_from_secs_f64(cpu_seconds).unwrap_or_default();
        Usage { reads, writes: all.saturating_sub(reads), cpu_ms: whole_millis(cpu) }
    };
    Tenant {
        tenant: counted.tenant_attribute.unwrap_or_default(),
        group: group.to_string(),
        node: node.to_owned(),
        this_period: usage(
            counted.read_count_in_this_period,
            counted.query_count_in_this_period,
            counted.cpu_usage_in_this_period,
        ),
        last_period: usage(
            counted.read_count_in_last_period,
            counted.query_count_in_last_period,
            counted.cpu_usage_in_last_period,
        ),
        tables: tables.get(&counted.colocation_id).cloned().unwrap_or_default(),
    }
}
