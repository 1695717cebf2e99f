-- The rights of the roles `remit_node`, `remit_bind` and `remit_publish` on the tables of a policy store, see docs/how-to/fleet.md.
-- The owner of the tables runs it with psql, after `remit publish --migrate`. Running it again changes nothing.

\set ON_ERROR_STOP on
BEGIN;

SELECT format('CREATE ROLE %I NOLOGIN', name)
FROM unnest(ARRAY['remit_node', 'remit_bind', 'remit_publish']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

-- Up to PostgreSQL 14, everybody may make tables and functions here.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO remit_node, remit_bind, remit_publish;
REVOKE ALL ON policy_store_version, releases, folders, changes, bindings, heads, nodes
  FROM PUBLIC, remit_node, remit_bind, remit_publish;
GRANT SELECT ON policy_store_version, releases, folders, changes, bindings, heads, nodes
  TO remit_node, remit_bind, remit_publish;

-- Nobody but the owner updates or deletes what was published.
GRANT INSERT ON releases, folders, changes TO remit_publish;
GRANT INSERT, UPDATE ON heads TO remit_publish;

-- Grants and revokes at run time, and the rows that a release adopts. What `bindings` holds follows from `changes`.
GRANT INSERT ON changes TO remit_bind;
GRANT INSERT, UPDATE ON heads TO remit_bind;
GRANT INSERT, DELETE ON bindings TO remit_bind, remit_publish;

-- A login reports for the node of its own name, and for nodes whose names go on with a hyphen.
GRANT INSERT, UPDATE ON nodes TO remit_node;
ALTER TABLE nodes ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS remit_reads_reports ON nodes;
DROP POLICY IF EXISTS remit_adds_its_report ON nodes;
DROP POLICY IF EXISTS remit_renews_its_report ON nodes;
CREATE POLICY remit_reads_reports ON nodes FOR SELECT TO remit_node, remit_publish USING (true);
CREATE POLICY remit_adds_its_report ON nodes FOR INSERT TO remit_node
  WITH CHECK (node = current_user OR starts_with(node, current_user || '-'));
CREATE POLICY remit_renews_its_report ON nodes FOR UPDATE TO remit_node
  USING (node = current_user OR starts_with(node, current_user || '-'));

COMMIT;
