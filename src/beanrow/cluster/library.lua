#!lua name=beanrow_VERSION
--
-- The transitions of a queue, one function each, on the keys of one partition.
--
-- Laws:
-- - A function is one transition, whole or not at all: it checks first and writes then, since what
--   has been written before an error stays.
-- - Time is the engine's own, in milliseconds. What is told of it is told as what is left.
-- - No loop without a bound: the engine does nothing else meanwhile. Who wants more calls again.
-- - A job that becomes ready wakes one gateway that waits for its tube; a gateway that found nothing
--   is noted as waiting by the same call, so no job comes in between.
--
-- KEYS[1] is what all keys of the partition begin with, "br{TAG}:" below:
--   j:ID    a job: the header (HEAD), its tube, its key if it is unique, its body
--   r:TUBE  ready jobs by priority       d:TUBE  delayed jobs by the end of their delay
--   b:TUBE  buried jobs by burial        t:TUBE  counts of the tube and its pause
--   due     what becomes due: vIDOWNER the end of a lease, dTUBE of the first delay, pTUBE of a pause
--   w:TUBE  gateways that wait for it    u:TUBE KEY  the job of a unique key
--   tubes   all t:                       id      the last one given       c  counts of the partition
-- An ID is 8 bytes, the highest first, so that equal scores leave in the order of ids. An OWNER is 4
-- bytes of the gateway and 4 of its connection.

local HEAD = '>BI4I4I4I8I8I4I4I4I4I4c8BB'
local SIZE = 59
local MOST_NAMES = 400
local READY, RESERVED, DELAYED, BURIED = 1, 2, 3, 4
local NOBODY = '\0\0\0\0\0\0\0\0'
local URGENT = 1024
local MOST_DUE = 64
local MOST_MOVED = 1000
local PARTITIONS = @PARTITIONS@
local ID_UNITS = @ID_UNITS@ -- of time in a second that ids follow; 0: they only count
local ID_EPOCH = 1735689600

-- Milliseconds, and the seconds and microseconds that they are of.
local function milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000), time
end

local function number_of(id)
  return (struct.unpack('>I8', id))
end

-- A new id: above the last one, and above all that a master could have given which was lost since.
local function next_id(base, partition, time)
  local last = tonumber(redis.call('GET', base .. 'id') or 0)
  local now = (time[1] - ID_EPOCH) * ID_UNITS + math.floor(time[2] * ID_UNITS / 1000000)
  local serial = math.max(last + 1, now)
  redis.call('SET', base .. 'id', serial)
  return struct.pack('>I8', serial * PARTITIONS + partition)
end

local function read(id, raw)
  local job, of_tube, of_key = {id = id}, 0, 0
  job.state, job.priority, job.delay, job.ttr, job.created, job.due, job.reserves, job.timeouts,
    job.releases, job.buries, job.kicks, job.owner, of_tube, of_key = struct.unpack(HEAD, raw)
  job.tube = string.sub(raw, SIZE + 1, SIZE + of_tube)
  job.key = string.sub(raw, SIZE + of_tube + 1, SIZE + of_tube + of_key)
  return job
end

local function header(job)
  return struct.pack(HEAD, job.state, job.priority, job.delay, job.ttr, job.created, job.due,
    job.reserves, job.timeouts, job.releases, job.buries, job.kicks, job.owner, #job.tube, #job.key)
end

local function find(base, id)
  local raw = redis.call('GETRANGE', base .. 'j:' .. id, 0, SIZE + MOST_NAMES - 1)
  if raw == '' then
    return nil
  end
  return read(id, raw)
end

local function save(base, job)
  redis.call('SETRANGE', base .. 'j:' .. job.id, 0, header(job))
end

local function wake(base, tube)
  local gateway = redis.call('SPOP', base .. 'w:' .. tube)
  if gateway then
    redis.call('SPUBLISH', base .. 'g:' .. gateway, tube)
  end
end

-- Into a state. The caller saves the header after that, or writes it for the first time.

local function make_ready(base, job)
  job.state, job.owner, job.due = READY, NOBODY, 0
  redis.call('ZADD', base .. 'r:' .. job.tube, job.priority, job.id)
  wake(base, job.tube)
end

local function make_delayed(base, job, now)
  job.state, job.owner, job.due = DELAYED, NOBODY, now + job.delay * 1000
  redis.call('ZADD', base .. 'd:' .. job.tube, job.due, job.id)
  redis.call('ZADD', base .. 'due', 'LT', job.due, 'd' .. job.tube)
end

local function make_reserved(base, job, owner, now)
  job.state, job.owner, job.due = RESERVED, owner, now + job.ttr * 1000
  job.reserves = job.reserves + 1
  redis.call('ZADD', base .. 'due', job.due, 'v' .. job.id .. owner)
  redis.call('HINCRBY', base .. 't:' .. job.tube, 'reserved', 1)
end

-- Out of its state. Gives how many jobs of the tube stay reserved if it was.
local function take_out(base, job)
  if job.state == READY then
    redis.call('ZREM', base .. 'r:' .. job.tube, job.id)
  elseif job.state == RESERVED then
    redis.call('ZREM', base .. 'due', 'v' .. job.id .. job.owner)
    return redis.call('HINCRBY', base .. 't:' .. job.tube, 'reserved', -1)
  elseif job.state == DELAYED then
    redis.call('ZREM', base .. 'd:' .. job.tube, job.id)
  else
    redis.call('ZREM', base .. 'b:' .. job.tube, job.id)
  end
end

-- Let what is due of one job pass, if something is.
local function settle(base, job, now)
  if job.due > now or (job.state ~= RESERVED and job.state ~= DELAYED) then
    return
  end
  local expired = job.state == RESERVED
  take_out(base, job)
  if expired then
    job.timeouts = job.timeouts + 1
    redis.call('HINCRBY', base .. 'c', 'timeouts', 1)
  end
  make_ready(base, job)
  save(base, job)
end

local function undelay(base, tube, now)
  local first = redis.call('ZRANGE', base .. 'd:' .. tube, 0, MOST_DUE - 1, 'WITHSCORES')
  for at = 1, #first, 2 do
    if tonumber(first[at + 1]) > now then
      break
    end
    settle(base, find(base, first[at]), now)
  end
  local left = redis.call('ZRANGE', base .. 'd:' .. tube, 0, 0, 'WITHSCORES')
  if left[1] then
    redis.call('ZADD', base .. 'due', left[2], 'd' .. tube)
  else
    redis.call('ZREM', base .. 'due', 'd' .. tube)
  end
end

-- Let pass what has become due, a share of it.
local function tick(base, now)
  local due = redis.call('ZRANGEBYSCORE', base .. 'due', '-inf', now, 'LIMIT', 0, MOST_DUE)
  for _, member in ipairs(due) do
    local kind = string.sub(member, 1, 1)
    if kind == 'v' then
      settle(base, find(base, string.sub(member, 2, 9)), now)
    elseif kind == 'd' then
      undelay(base, string.sub(member, 2), now)
    else
      local tube = string.sub(member, 2)
      redis.call('ZREM', base .. 'due', member)
      redis.call('HDEL', base .. 't:' .. tube, 'pause')
      wake(base, tube)
    end
  end
end

-- Milliseconds until something becomes due, -1 if nothing will.
local function patience(base, now)
  local first = redis.call('ZRANGE', base .. 'due', 0, 0, 'WITHSCORES')
  if not first[1] then
    return -1
  end
  return math.max(0, first[2] - now)
end

local function is_paused(base, tube)
  return redis.call('ZSCORE', base .. 'due', 'p' .. tube)
end

-- The next job that may leave a tube: its priority and id.
local function head(base, tube)
  local first = redis.call('ZRANGE', base .. 'r:' .. tube, 0, 0, 'WITHSCORES')
  if first[1] and not is_paused(base, tube) then
    return tonumber(first[2]), first[1]
  end
end

local function has_jobs(base, tube, reserved)
  reserved = reserved or tonumber(redis.call('HGET', base .. 't:' .. tube, 'reserved') or 0)
  return reserved > 0
    or redis.call('EXISTS', base .. 'r:' .. tube, base .. 'd:' .. tube, base .. 'b:' .. tube) > 0
end

local function forget(base, job, now)
  local reserved = take_out(base, job)
  redis.call('DEL', base .. 'j:' .. job.id)
  redis.call('HINCRBY', base .. 't:' .. job.tube, 'deletes', 1)
  if job.key ~= '' then -- the key stays taken to the end of its lifetime
    local record = base .. 'u:' .. job.tube .. ' ' .. job.key
    local ends = number_of(string.sub(redis.call('GET', record), 9))
    if ends > now then
      redis.call('PEXPIREAT', record, ends)
    else
      redis.call('DEL', record)
    end
  end
  return reserved
end

local function add(base, partition, now, time, tube, key, priority, delay, ttr, body)
  local job = {
    id = next_id(base, partition, time), tube = tube, key = key, priority = tonumber(priority),
    delay = tonumber(delay), ttr = tonumber(ttr), created = now,
    reserves = 0, timeouts = 0, releases = 0, buries = 0, kicks = 0,
  }
  if redis.call('HINCRBY', base .. 't:' .. tube, 'total', 1) == 1 then
    redis.call('SADD', base .. 'tubes', tube)
  end
  if job.delay > 0 then
    make_delayed(base, job, now)
  else
    make_ready(base, job)
  end
  redis.call('SET', base .. 'j:' .. job.id, header(job) .. tube .. key .. body)
  return job.id
end

-- put PARTITION TUBE (PRIORITY DELAY TTR BODY)...: the ids.
local function put(keys, args)
  local ids, now, time = {}, milliseconds()
  for at = 3, #args, 4 do
    ids[#ids + 1] = add(
      keys[1], args[1], now, time, args[2], '', args[at], args[at + 1], args[at + 2], args[at + 3])
  end
  return ids
end

-- put_unique PARTITION TUBE KEY LIFETIME PRIORITY DELAY TTR BODY: {id, 1 if it is new}.
local function put_unique(keys, args)
  local base, now, time = keys[1], milliseconds()
  local record = base .. 'u:' .. args[2] .. ' ' .. args[3]
  local taken = redis.call('GET', record)
  if taken then
    return {string.sub(taken, 1, 8), 0}
  end
  local id = add(base, args[1], now, time, args[2], args[3], args[5], args[6], args[7], args[8])
  redis.call('SET', record, id .. struct.pack('>I8', now + args[4] * 1000))
  return {id, 1}
end

-- find_unique TUBE KEY: the id of the job that holds the key.
local function find_unique(keys, args)
  local taken = redis.call('GET', keys[1] .. 'u:' .. args[1] .. ' ' .. args[2])
  return taken and string.sub(taken, 1, 8)
end

local function await(base, tube, gateway)
  if gateway ~= '' then
    redis.call('SADD', base .. 'w:' .. tube, gateway)
  end
end

-- reserve OWNER GATEWAY TUBE...: {id, job}, or {patience} where there is none; then the gateway, if it
-- is named, waits for these tubes.
local function reserve(keys, args)
  local base, owner, now = keys[1], args[1], milliseconds()
  tick(base, now)
  local best, best_id, best_tube
  for at = 3, #args do
    local priority, id = head(base, args[at])
    if priority and (not best or priority < best
        or (priority == best and number_of(id) < number_of(best_id))) then
      best, best_id, best_tube = priority, id, args[at]
    end
  end
  if not best then
    for at = 3, #args do
      await(base, args[at], args[2])
    end
    return {patience(base, now)}
  end
  local raw = redis.call('GET', base .. 'j:' .. best_id)
  local job = read(best_id, raw)
  redis.call('ZREM', base .. 'r:' .. best_tube, best_id)
  make_reserved(base, job, owner, now)
  save(base, job)
  return {best_id, raw}
end

-- heads GATEWAY TUBE...: {patience, priority, id, ...} of the first job of each tube, -1 and '' for
-- one that has none; the gateway, if it is named, waits for those.
local function heads(keys, args)
  local base, now, found = keys[1], milliseconds(), {0}
  tick(base, now)
  for at = 2, #args do
    local priority, id = head(base, args[at])
    if not priority then
      await(base, args[at], args[1])
    end
    found[#found + 1] = priority or -1
    found[#found + 1] = id or ''
  end
  found[1] = patience(base, now)
  return found
end

-- pass_on TUBE: wake the next gateway, if there is a job for it.
local function pass_on(keys, args)
  if head(keys[1], args[1]) then
    wake(keys[1], args[1])
  end
  return 1
end

-- tick: what becomes due does; {patience}.
local function tick_all(keys, args)
  local now = milliseconds()
  tick(keys[1], now)
  return {patience(keys[1], now)}
end

-- reserve_job ID OWNER: the job, or nothing.
local function reserve_job(keys, args)
  local base, now = keys[1], milliseconds()
  local job = find(base, args[1])
  if not job then
    return false
  end
  settle(base, job, now)
  if job.state == RESERVED then
    return false
  end
  take_out(base, job)
  make_reserved(base, job, args[2], now)
  save(base, job)
  return redis.call('GET', base .. 'j:' .. job.id)
end

-- Find a job that the owner holds.
local function held(base, id, owner, now)
  local job = find(base, id)
  if job then
    settle(base, job, now)
    if job.state == RESERVED and job.owner == owner then
      return job
    end
  end
end

-- delete ID OWNER: 0 if there is none to delete; 1; or the name of the tube if that was its last.
local function delete(keys, args)
  local base, now = keys[1], milliseconds()
  local job = find(base, args[1])
  if not job then
    return 0
  end
  settle(base, job, now)
  if job.state == RESERVED and job.owner ~= args[2] then
    return 0
  end
  local reserved = forget(base, job, now)
  if reserved and reserved > 0 or has_jobs(base, job.tube, reserved) then
    return 1
  end
  return job.tube
end

-- release ID OWNER PRIORITY DELAY: 1, or 0 if the owner does not hold it. So are those below.
local function release(keys, args)
  local base, now = keys[1], milliseconds()
  local job = held(base, args[1], args[2], now)
  if not job then
    return 0
  end
  take_out(base, job)
  job.priority, job.delay, job.releases = tonumber(args[3]), tonumber(args[4]), job.releases + 1
  if job.delay > 0 then
    make_delayed(base, job, now)
  else
    make_ready(base, job)
  end
  save(base, job)
  return 1
end

-- bury ID OWNER PRIORITY.
local function bury(keys, args)
  local base, now = keys[1], milliseconds()
  local job = held(base, args[1], args[2], now)
  if not job then
    return 0
  end
  take_out(base, job)
  job.state, job.owner, job.due = BURIED, NOBODY, 0
  job.priority, job.buries = tonumber(args[3]), job.buries + 1
  redis.call('ZADD', base .. 'b:' .. job.tube, redis.call('HINCRBY', base .. 'c', 'burials', 1), job.id)
  save(base, job)
  return 1
end

-- touch ID OWNER: the ttr, or 0.
local function touch(keys, args)
  local base, now = keys[1], milliseconds()
  local job = held(base, args[1], args[2], now)
  if not job then
    return 0
  end
  job.due = now + job.ttr * 1000
  redis.call('ZADD', base .. 'due', job.due, 'v' .. job.id .. job.owner)
  save(base, job)
  return job.ttr
end

-- let_go OWNER ID...: what of these the owner holds is ready again.
local function let_go(keys, args)
  local base, now = keys[1], milliseconds()
  for at = 2, #args do
    local job = held(base, args[at], args[1], now)
    if job then
      take_out(base, job)
      make_ready(base, job)
      save(base, job)
    end
  end
  return 1
end

-- reap PREFIX OFFSET: what the owners that begin so hold is ready again; {place to go on at or -1,
-- how many it were}.
local function reap(keys, args)
  local base, prefix, offset, found = keys[1], args[1], tonumber(args[2]), 0
  local now = milliseconds()
  local members = redis.call('ZRANGE', base .. 'due', offset, offset + MOST_MOVED - 1)
  for _, member in ipairs(members) do
    if string.sub(member, 1, 1) == 'v' and string.sub(member, 10, 9 + #prefix) == prefix then
      local job = find(base, string.sub(member, 2, 9))
      settle(base, job, now)
      if job.state == RESERVED then
        take_out(base, job)
        make_ready(base, job)
        save(base, job)
      end
      found = found + 1
    end
  end
  return {#members == MOST_MOVED and offset + MOST_MOVED - found or -1, found}
end

local function kick_one(base, job)
  take_out(base, job)
  job.kicks = job.kicks + 1
  make_ready(base, job)
  save(base, job)
end

-- kick TUBE BOUND KIND: {how many, of which kind}; the kind is b or d, or empty to find out.
local function kick(keys, args)
  local base, tube, kind = keys[1], args[1], args[3]
  local bound = math.min(tonumber(args[2]), MOST_MOVED)
  tick(base, milliseconds())
  if kind == '' then
    kind = redis.call('EXISTS', base .. 'b:' .. tube) > 0 and 'b' or 'd'
  end
  if bound == 0 then
    return {0, kind}
  end
  local ids = redis.call('ZRANGE', base .. kind .. ':' .. tube, 0, bound - 1)
  for _, id in ipairs(ids) do
    kick_one(base, find(base, id))
  end
  return {#ids, kind}
end

-- kick_job ID: 1, or 0 if it is neither buried nor delayed.
local function kick_job(keys, args)
  local base = keys[1]
  local job = find(base, args[1])
  if not job then
    return 0
  end
  settle(base, job, milliseconds())
  if job.state ~= BURIED and job.state ~= DELAYED then
    return 0
  end
  kick_one(base, job)
  return 1
end

-- truncate TUBE: how many jobs that nobody holds are deleted, a share of them.
local function truncate(keys, args)
  local base, tube, now, gone = keys[1], args[1], milliseconds(), 0
  tick(base, now)
  for _, kind in ipairs({'r:', 'd:', 'b:'}) do
    if gone < MOST_MOVED then
      for _, id in ipairs(redis.call('ZRANGE', base .. kind .. tube, 0, MOST_MOVED - gone - 1)) do
        forget(base, find(base, id), now)
        gone = gone + 1
      end
    end
  end
  return gone
end

-- peek KIND TUBE: {id, job}, or nothing.
local function peek(keys, args)
  local base = keys[1]
  tick(base, milliseconds())
  local first = redis.call('ZRANGE', base .. args[1] .. ':' .. args[2], 0, 0)[1]
  return first and {first, redis.call('GET', base .. 'j:' .. first)}
end

-- stats_job ID: {its header and names, now}, or nothing.
local function stats_job(keys, args)
  local base, now = keys[1], milliseconds()
  local job = find(base, args[1])
  if not job then
    return false
  end
  settle(base, job, now)
  return {redis.call('GETRANGE', base .. 'j:' .. job.id, 0, SIZE + MOST_NAMES - 1), now}
end

-- ids KIND TUBE PLACE COUNT: those of jobs of a kind, "" for the reserved ones of all tubes, and
-- whether there may be more behind them.
local function ids(keys, args)
  local base, first, count = keys[1], tonumber(args[3]), tonumber(args[4])
  if args[1] ~= '' then
    local found = redis.call('ZRANGE', base .. args[1] .. ':' .. args[2], first, first + count - 1)
    return {found, #found == count and 1 or 0}
  end
  local found, members = {}, redis.call('ZRANGE', base .. 'due', first, first + count - 1)
  for _, member in ipairs(members) do
    if string.sub(member, 1, 1) == 'v' then
      found[#found + 1] = string.sub(member, 2, 9)
    end
  end
  return {found, #members == count and 1 or 0}
end

-- list ID...: now, and of each job its header and names, '' if it is gone, and the size of all of it.
local function list(keys, args)
  local base, found = keys[1], {milliseconds()}
  for _, id in ipairs(args) do
    local job = base .. 'j:' .. id
    found[#found + 1] = redis.call('GETRANGE', job, 0, SIZE + MOST_NAMES - 1)
    found[#found + 1] = redis.call('STRLEN', job)
  end
  return found
end

-- pause TUBE SECONDS REFERENCED: 1, or 0 if there is no such tube.
local function pause(keys, args)
  local base, tube, seconds = keys[1], args[1], tonumber(args[2])
  local counts = base .. 't:' .. tube
  if args[3] == '0' and not has_jobs(base, tube) then
    return 0
  end
  redis.call('HINCRBY', counts, 'pauses', 1)
  redis.call('SADD', base .. 'tubes', tube)
  if seconds > 0 then
    redis.call('HSET', counts, 'pause', seconds)
    redis.call('ZADD', base .. 'due', milliseconds() + seconds * 1000, 'p' .. tube)
  else
    redis.call('HDEL', counts, 'pause')
    redis.call('ZREM', base .. 'due', 'p' .. tube)
    wake(base, tube)
  end
  return 1
end

local function gauges(base, tube)
  local ready = base .. 'r:' .. tube
  return redis.call('ZCOUNT', ready, '-inf', '(' .. URGENT), redis.call('ZCARD', ready),
    tonumber(redis.call('HGET', base .. 't:' .. tube, 'reserved') or 0),
    redis.call('ZCARD', base .. 'd:' .. tube), redis.call('ZCARD', base .. 'b:' .. tube)
end

-- stats_tube TUBE: urgent, ready, reserved, delayed, buried, total, deletes, pauses, pause, and
-- milliseconds of it that are left.
local function stats_tube(keys, args)
  local base, tube, now = keys[1], args[1], milliseconds()
  tick(base, now)
  local found = {gauges(base, tube)}
  local counts = redis.call('HMGET', base .. 't:' .. tube, 'total', 'deletes', 'pauses', 'pause')
  for _, count in ipairs(counts) do
    found[#found + 1] = tonumber(count or 0)
  end
  local ends = is_paused(base, tube)
  found[#found + 1] = ends and ends - now or 0
  return found
end

-- overview: timeouts, then of each tube its name, urgent, ready, reserved, delayed, buried.
local function overview(keys, args)
  local base = keys[1]
  tick(base, milliseconds())
  local found = {tonumber(redis.call('HGET', base .. 'c', 'timeouts') or 0)}
  for _, tube in ipairs(redis.call('SMEMBERS', base .. 'tubes')) do
    found[#found + 1] = tube
    for _, gauge in ipairs({gauges(base, tube)}) do
      found[#found + 1] = gauge
    end
  end
  return found
end

-- prune TUBE...: forget what is left of tubes without jobs.
local function prune(keys, args)
  local base = keys[1]
  for _, tube in ipairs(args) do
    if not has_jobs(base, tube) then
      redis.call('DEL', base .. 't:' .. tube)
      redis.call('SREM', base .. 'tubes', tube)
      redis.call('ZREM', base .. 'due', 'p' .. tube)
    end
  end
  return 1
end

-- The gateways, on the keys of the first partition:
--   gw:beat  when each was heard of last      gw:facts  what each tells of itself
--   gw:dead  those that are to be reaped, and when somebody began to
--   gw:sum   counts of those that are gone    gw:n gw:last gw:drain

local GATEWAY_LIFE = 3000
local SILENCE = 2000 -- of all gateways: then it is the engine that was not there
local REAP_TIME = 5000

-- join: a number that no gateway has had. It follows time, as ids do: a master that has lost the last
-- ones must not give them again.
local function join(keys, args)
  local base, now = keys[1], milliseconds()
  local last = tonumber(redis.call('GET', base .. 'gw:n') or 0)
  local gateway = math.max(last + 1, math.floor(now / 1000) - ID_EPOCH)
  redis.call('SET', base .. 'gw:n', gateway)
  redis.call('HSET', base .. 'gw:beat', gateway, now)
  return gateway
end

-- beat GATEWAY FACTS: {whether all drain, gateways to be reaped by the caller...}; nothing if the
-- caller itself has been given up.
local function beat(keys, args)
  local base, gateway, now = keys[1], args[1], milliseconds()
  local beats, dead = base .. 'gw:beat', base .. 'gw:dead'
  local silence = now - (redis.call('GET', base .. 'gw:last') or now)
  redis.call('SET', base .. 'gw:last', now)
  if redis.call('HEXISTS', beats, gateway) == 0 then
    return false
  end
  redis.call('HSET', beats, gateway, now)
  redis.call('HSET', base .. 'gw:facts', gateway, args[2])
  local all = redis.call('HGETALL', beats)
  for at = 1, #all, 2 do
    if silence > SILENCE and all[at] ~= gateway then
      redis.call('HSET', beats, all[at], now)
    elseif now - all[at + 1] > GATEWAY_LIFE then
      redis.call('HDEL', beats, all[at])
      redis.call('HSET', dead, all[at], 0)
    end
  end
  local told = {tonumber(redis.call('GET', base .. 'gw:drain') or 0)}
  local begun = redis.call('HGETALL', dead)
  for at = 1, #begun, 2 do
    if now - begun[at + 1] > REAP_TIME then
      redis.call('HSET', dead, begun[at], now)
      told[#told + 1] = tonumber(begun[at])
    end
  end
  return told
end

-- leave GATEWAY: nothing is left of it but what it counted.
local function leave(keys, args)
  local base, gateway = keys[1], args[1]
  local facts = redis.call('HGET', base .. 'gw:facts', gateway)
  if facts then
    for name, count in pairs(cjson.decode(facts).counts) do
      redis.call('HINCRBY', base .. 'gw:sum', name, count)
    end
  end
  redis.call('HDEL', base .. 'gw:facts', gateway)
  redis.call('HDEL', base .. 'gw:beat', gateway)
  redis.call('HDEL', base .. 'gw:dead', gateway)
  return 1
end

-- gateways: {{number, milliseconds since it was heard of, facts, ...}, {name, sum, ...}, drain}.
local function gateways(keys, args)
  local base, now, found = keys[1], milliseconds(), {}
  local all = redis.call('HGETALL', base .. 'gw:beat')
  for at = 1, #all, 2 do
    found[#found + 1] = tonumber(all[at])
    found[#found + 1] = now - all[at + 1]
    found[#found + 1] = redis.call('HGET', base .. 'gw:facts', all[at]) or ''
  end
  return {found, redis.call('HGETALL', base .. 'gw:sum'), tonumber(redis.call('GET', base .. 'gw:drain') or 0)}
end

-- drain 0|1: whether all gateways refuse puts.
local function drain(keys, args)
  redis.call('SET', keys[1] .. 'gw:drain', args[1])
  return 1
end

-- layout WORDS: those that the queue was begun with.
local function layout(keys, args)
  redis.call('SETNX', keys[1] .. 'layout', args[1])
  return redis.call('GET', keys[1] .. 'layout')
end

redis.register_function('VERSION_put', put)
redis.register_function('VERSION_put_unique', put_unique)
redis.register_function{function_name = 'VERSION_find_unique', callback = find_unique, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_reserve', callback = reserve, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_heads', callback = heads, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_pass_on', callback = pass_on, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_tick', callback = tick_all, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_reserve_job', callback = reserve_job, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_delete', callback = delete, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_release', callback = release, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_bury', callback = bury, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_touch', callback = touch, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_let_go', callback = let_go, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_reap', callback = reap, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_kick', callback = kick, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_kick_job', callback = kick_job, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_truncate', callback = truncate, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_peek', callback = peek, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_stats_job', callback = stats_job, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_ids', callback = ids, flags = {'no-writes'}}
redis.register_function{function_name = 'VERSION_list', callback = list, flags = {'no-writes'}}
redis.register_function{function_name = 'VERSION_pause', callback = pause, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_stats_tube', callback = stats_tube, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_overview', callback = overview, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_prune', callback = prune, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_join', callback = join, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_beat', callback = beat, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_leave', callback = leave, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_gateways', callback = gateways, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_drain', callback = drain, flags = {'allow-oom'}}
redis.register_function{function_name = 'VERSION_layout', callback = layout, flags = {'allow-oom'}}
