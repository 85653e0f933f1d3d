-- Action wait_for_leader: holds a connection of the pooler until there is a leader, then names it in txn.leader.
--
-- Without it the pooler would be refused while there is no leader, and PgBouncer passes a refusal on to
-- every client that waits. And for a second or two after a failover two members count as leader, as one
-- that died is given up only after failed checks: the one that was found last is the leader.

local BACKEND = "coordinator_leader"
local PAUSE_MS = 20
-- tcp-request inspect-delay must be longer: HAProxy ends an action that outlasts it.
local PAUSES = 100

-- A server on its way down ("UP 1/2") is no leader to begin a connection with.
local function leader()
  local name, since
  for candidate, server in pairs(core.backends[BACKEND].servers) do
    local stats = server:get_stats()
    local changed = tonumber(stats.lastchg) or 0
    if stats.status == "UP" and (since == nil or changed < since) then
      name, since = candidate, changed
    end
  end
  return name
end

core.register_action("wait_for_leader", { "tcp-req" }, function(txn)
  for _ = 1, PAUSES do
    local name = leader()
    if name then
      txn:set_var("txn.leader", name)
      return
    end
    core.msleep(PAUSE_MS)
  end
end, 0)
