-- fillfactor leaves room on the page, so that an update of a hot row stays on it and touches no index (HOT).
CREATE TABLE documents(kind text, id text, body bytea NOT NULL, PRIMARY KEY(kind, id));
CREATE TABLE accounts(
  id text PRIMARY KEY, market text NOT NULL, tier text NOT NULL DEFAULT 'free', entitlement int NOT NULL DEFAULT 0,
  age_max int NOT NULL, created_ms bigint NOT NULL, streams_version bigint NOT NULL DEFAULT 0) WITH (fillfactor = 80);
CREATE TABLE progress(
  account text, profile text, title text, pos_s float8 NOT NULL, dur_s float8 NOT NULL, updated_ms bigint NOT NULL,
  done boolean NOT NULL, PRIMARY KEY(account, profile, title)) WITH (fillfactor = 80);
CREATE TABLE watchlist(account text, profile text, title text, added_ms bigint NOT NULL, PRIMARY KEY(account, profile, title));
CREATE TABLE sessions(
  sid text PRIMARY KEY, account text NOT NULL, device text NOT NULL, platform text NOT NULL, asset text NOT NULL,
  started_ms bigint NOT NULL, start_pos_s float8 NOT NULL, token_expiry bigint NOT NULL,
  expires_ms bigint NOT NULL, seq bigint NOT NULL DEFAULT 0, state text NOT NULL DEFAULT 'playing',
  written_ms bigint NOT NULL, ended_ms bigint) WITH (fillfactor = 70);
CREATE INDEX sessions_alive ON sessions(account) WHERE ended_ms IS NULL;
-- What is still to be published to the hub, written with what it tells of.
CREATE TABLE outbox(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event bytea NOT NULL);
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
