-- SPDX-License-Identifier: Apache-2.0
--
-- A grab behind nginx as it is often built: the user token is verified (HS256) or found in a cache,
-- its group looked at, the body read, and one script in Redis decides and logs. Redis answers when
-- its append-only file is synced. Peer of the benchmark `http`.
local ffi = require "ffi"
local redis = require "nginx.redis"

if not grab_peer.ready then
    ffi.cdef [[
        const void *EVP_sha256(void);
        unsigned char *HMAC(const void *md, const void *key, int key_length,
            const unsigned char *data, size_t length, unsigned char *out, unsigned int *out_length);
    ]]
    grab_peer.secret = grab_peer.secret_hex:gsub("%x%x", function(two)
        return string.char(tonumber(two, 16))
    end)
    grab_peer.out = ffi.new("unsigned char[64]")
    grab_peer.out_length = ffi.new("unsigned int[1]")
    grab_peer.ready = true
end

local function answer(code, text)
    ngx.status = code
    ngx.header.content_length = #text
    ngx.print(text)
    return ngx.exit(code)
end

local function refuse(code, status)
    return answer(code, '{"status":"' .. status .. '"}')
end

local function decode(text)
    text = text:gsub("-", "+"):gsub("_", "/")
    return ngx.decode_base64(text .. string.rep("=", -#text % 4))
end

-- The account and the claims' text; nil when the token is not good.
local function verify(token)
    local head, claims, signature = token:match("^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
    if not head or not decode(head):find('"alg":"HS256"', 1, true) then
        return nil
    end
    local text = head .. "." .. claims
    ffi.C.HMAC(ffi.C.EVP_sha256(), grab_peer.secret, #grab_peer.secret, text, #text,
        grab_peer.out, grab_peer.out_length)
    if ffi.string(grab_peer.out, grab_peer.out_length[0]) ~= decode(signature) then
        return nil
    end
    claims = decode(claims)
    local account, expiry = claims:match('"sub":"(%d+)"'), tonumber(claims:match('"exp":(%d+)'))
    if not account or not expiry or expiry <= ngx.time() then
        return nil
    end
    local groups = "," .. (claims:match('"groups":%[([%d,]*)%]') or "") .. ","
    ngx.shared.user_tokens:set(token, account .. " " .. groups, expiry - ngx.time())
    return account, groups
end

local function identity()
    local token = (ngx.var.http_authorization or ""):match("^Bearer (.+)$")
    if not token then
        return nil
    end
    local known = ngx.shared.user_tokens:get(token)
    if known then
        return known:match("^(%d+) (.*)$")
    end
    return verify(token)
end

local account, groups = identity()
if not account then
    return refuse(401, "token_invalid")
end
local packet = ngx.var.uri:match("^/v1/packets/(%x+)/grab$")
if not packet then
    return refuse(404, "not_found")
end
ngx.req.read_body()
local body = ngx.req.get_body_data() or ""
local group, token = body:match('"group":(%d+)'), body:match('"token":"([%w_-]+)"')
if not group or not token or not groups:find("," .. group .. ",", 1, true) then
    return refuse(403, "not_member")
end

local connection = redis:new()
local ok = connection:connect("unix:" .. grab_peer.socket)
if not ok then
    return refuse(503, "unavailable")
end
local amount = connection:evalsha(grab_peer.script, 4, "claims:" .. packet, "shares:" .. packet, "log",
    "tokens:" .. packet, account, token)
connection:set_keepalive(60000, 4096)
if not amount then
    return refuse(503, "unavailable")
end
if not tonumber(amount) then
    return refuse(410, amount)
end
return answer(200, '{"status":"ok","packet":"' .. packet .. '","amount_fen":' .. amount .. "}")
