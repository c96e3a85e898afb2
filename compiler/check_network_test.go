package compiler_test

import "testing"

// What only the network reaches is refused beside network: false, and accepted without it.
func TestNetworkIsForbidden(t *testing.T) {
	t.Parallel()
	const deployment = "deployments: api: serve.#HTTP & {\n"
	with := func(edits ...string) string {
		text := deployment
		for _, e := range edits {
			text += "\t" + e + "\n"
		}
		return text
	}
	const forbidden, traced = "network: false", `traces: endpoint: "http://collector:4318"`
	store := []edit{{"lookup: p: {}", redisStore}}
	for name, tt := range map[string]struct {
		edits []edit
		want  string
	}{
		"a lookup in a store":                   {append(edits(store), edit{deployment, with(forbidden)}), "deployments.api must not use the network, but lookup.p.store is reached over it"},
		"a lookup in a store, with the network": {append(edits(store), edit{deployment, with("network: true")}), ""},
		"a lookup in a store, by default":       {store, ""},
		"a lookup in memory":                    {[]edit{{deployment, with(forbidden)}}, ""},
		"traces":                                {[]edit{{deployment, with(forbidden, traced)}}, "deployments.api must not use the network, but traces is reached over it"},
		"traces, by default":                    {[]edit{{deployment, with(traced)}}, ""},
		"traces and a store":                    {append(edits(store), edit{deployment, with(forbidden, traced)}), "deployments.api must not use the network, but lookup.p.store, traces is reached over it"},
		"a source from a database": {[]edit{{deployment, "sources: more: source.#Postgres & {\n\tnetwork: false\n\tdsn: secret: env: \"DSN\"\n\tquery: \"SELECT 1 AS x\"\n\tschema: x: col.#Int64\n}\n" + deployment}},
			"sources.more must not use the network, but fetches its data over it"},
		"a source from a database, by default": {[]edit{{deployment, "sources: more: source.#Postgres & {\n\tdsn: secret: env: \"DSN\"\n\tquery: \"SELECT 1 AS x\"\n\tschema: x: col.#Int64\n}\n" + deployment}}, ""},
		"a feature in SQL":                     {[]edit{{"features: d: feature.#SQL & {\n", "features: d: feature.#SQL & {\n\tnetwork: false\n"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": edited(t, requested, tt.edits)}, tt.want)
		})
	}
}
