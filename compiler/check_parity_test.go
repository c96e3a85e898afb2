package compiler_test

import "testing"

// A service can check its requests while it runs if training can compute them again.
func TestParityWhileItRuns(t *testing.T) {
	t.Parallel()
	const deployment = "deployments: api: serve.#HTTP & {\n"
	const objective = "slos: api: slo.#Objectives & {\n\ton: deployments.api.out\n\tparity: 0\n}\n"
	checked := edit{deployment, deployment + "\tparity: 0.001\n"}
	slo := []edit{{"\t\"tenon.dev/serve\"\n", "\t\"tenon.dev/serve\"\n\t\"tenon.dev/slo\"\n"}, {deployment, objective + deployment}}
	for name, tt := range map[string]struct {
		system string
		edits  []edit
		want   string
	}{
		"a request":                         {requested, []edit{checked}, ""},
		"a lookup in a store":               {requested, []edit{checked, {"lookup: p: {}", redisStore}}, ""},
		"all requests":                      {requested, []edit{{deployment, deployment + "\tparity: 1\n"}}, ""},
		"no fraction":                       {requested, []edit{{deployment, deployment + "\tparity: 0\n"}}, "deployments.api.parity cannot be 0"},
		"more than all":                     {requested, []edit{{deployment, deployment + "\tparity: 1.5\n"}}, "deployments.api.parity cannot be 1.5"},
		"a history":                         {remembered, []edit{checked}, "parity of deployments.api cannot be checked while it runs: its features have a history, and training cannot tell which earlier rows a request knew"},
		"a history without parity":          {remembered, nil, ""},
		"a request of columns of the model": {requested, []edit{checked, {"\trequest: f: exclude: [\"delay\", \"taxi\"]\n\tlookup: p: {}\n\treturns: [\"id\"]\n", ""}, {"{model: models.m.out, table: features.d.out}", "model: models.m.out"}}, ""},
		"an objective for it":               {requested, append(edits(slo), checked), ""},
		"an objective for nothing":          {requested, slo, "slos.api has an objective for the parity of deployments.api, which checks no requests"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": edited(t, tt.system, tt.edits)}, tt.want)
		})
	}
}
