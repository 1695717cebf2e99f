CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE decisions (
	id BLOB NOT NULL,
	time_us BIGINT NOT NULL,
	node TEXT NOT NULL,
	caller TEXT NOT NULL,
	on_behalf_of TEXT NOT NULL,
	tenant TEXT NOT NULL,
	namespace TEXT NOT NULL,
	principal TEXT NOT NULL,
	action TEXT NOT NULL,
	kind TEXT NOT NULL,
	resource_id TEXT NOT NULL,
	effect TEXT NOT NULL,
	reason TEXT NOT NULL,
	rule TEXT NOT NULL,
	revision TEXT NOT NULL,
	latency_ns BIGINT NOT NULL,
	call_id BLOB NOT NULL,
	batch_index BIGINT NOT NULL,
	trace_id TEXT NOT NULL, question TEXT DEFAULT 'CHECK' NOT NULL, detail TEXT DEFAULT '' NOT NULL, seq BIGINT DEFAULT 0 NOT NULL, hash BLOB DEFAULT '' NOT NULL,
	PRIMARY KEY (id)
)
 WITHOUT ROWID;
CREATE TABLE lifecycle (
	id BLOB NOT NULL,
	time_us BIGINT NOT NULL,
	node TEXT NOT NULL,
	type TEXT NOT NULL,
	tenant TEXT NOT NULL,
	revision TEXT NOT NULL,
	detail TEXT NOT NULL, seq BIGINT DEFAULT 0 NOT NULL, hash BLOB DEFAULT '' NOT NULL,
	PRIMARY KEY (id)
)
 WITHOUT ROWID;
CREATE TABLE probe (
	id BLOB NOT NULL,
	filler BLOB NOT NULL,
	PRIMARY KEY (id)
);
CREATE TABLE chains (
	of_table TEXT NOT NULL,
	tenant TEXT NOT NULL,
	node TEXT NOT NULL,
	seq BIGINT NOT NULL,
	hash BLOB NOT NULL,
	PRIMARY KEY (of_table, tenant, node)
)
 WITHOUT ROWID;
CREATE TABLE checkpoints (
	of_table TEXT NOT NULL,
	tenant TEXT NOT NULL,
	node TEXT NOT NULL,
	seq BIGINT NOT NULL,
	hash BLOB NOT NULL,
	previous_seq BIGINT NOT NULL,
	previous_hash BLOB NOT NULL,
	time_us BIGINT NOT NULL,
	key_id TEXT NOT NULL,
	signature BLOB NOT NULL,
	PRIMARY KEY (of_table, tenant, node, seq)
)
 WITHOUT ROWID;
CREATE TABLE tombstones (
	tenant TEXT NOT NULL,
	node TEXT NOT NULL,
	seq BIGINT NOT NULL,
	hash BLOB NOT NULL,
	before_us BIGINT NOT NULL,
	time_us BIGINT NOT NULL,
	key_id TEXT NOT NULL,
	signature BLOB NOT NULL,
	PRIMARY KEY (tenant, node, seq)
)
 WITHOUT ROWID;
CREATE TABLE counts (
	tenant TEXT NOT NULL,
	dimension TEXT NOT NULL,
	hour_us BIGINT NOT NULL,
	value TEXT NOT NULL,
	effect TEXT NOT NULL,
	reason TEXT NOT NULL,
	node TEXT NOT NULL,
	recorded BIGINT NOT NULL,
	unrecorded BIGINT NOT NULL,
	minutes BIGINT NOT NULL,
	PRIMARY KEY (tenant, dimension, hour_us, value, effect, reason, node)
)
 WITHOUT ROWID;
CREATE TABLE revisions (
	revision TEXT NOT NULL,
	tenant TEXT NOT NULL,
	kept_us BIGINT NOT NULL,
	archive BLOB NOT NULL,
	PRIMARY KEY (revision)
)
 WITHOUT ROWID;
CREATE INDEX lifecycle_by_type ON lifecycle (tenant, type, id);
CREATE INDEX decisions_by_principal ON decisions (tenant, principal, id, namespace, effect);
INSERT INTO alembic_version VALUES ('0004')
