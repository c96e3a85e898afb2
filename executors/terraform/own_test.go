package terraform_test

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/executors/terraform"
)

func TestOwnFiles(t *testing.T) {
	ours := terraform.Files{}
	ours.File("main.tf").Resource("x_net", "main").Set("name", terraform.Text("n"))
	ours.File("main.tf").Variable("region", "Region.", "string", terraform.Text("r"))
	docs := ours.Documents([]byte("# page\n"))
	for name, c := range map[string]struct {
		own  map[string]string
		want string // an error, or "" for none
	}{
		"another resource":  {map[string]string{"a/x.tf": "resource \"x_net\" \"other\" {}\n"}, ""},
		"an alias":          {map[string]string{"a/x.tf": "provider \"x\" { alias = \"a\" }\nprovider \"x\" { alias = \"b\" }\n"}, ""},
		"a moved block":     {map[string]string{"a/x.tf": "moved {\n from = x_net.a\n to = x_net.b\n}\n"}, ""},
		"the same resource": {map[string]string{"a/x.tf": "\nresource \"x_net\" \"main\" {}\n"}, "a/x.tf:2 declares resource x_net main, which main.tf:3 declares too"},
		"the same variable": {map[string]string{"a/x.tf": "variable \"region\" {}\n"}, "a/x.tf:1 declares variable region, which main.tf:7 declares too"},
		"two of their own":  {map[string]string{"a/x.tf": "locals { a = 1 }\n", "a/y.tf": "locals { a = 2 }\n"}, "a/y.tf:1 declares local.a, which a/x.tf:1 declares too"},
		"several in their order": {map[string]string{"a/x.tf": "locals {\n b = 1\n a = 1\n c = 1\n}\n", "a/y.tf": "locals {\n c = 2\n b = 2\n a = 2\n}\n"},
			"a/y.tf:2 declares local.c, which a/x.tf:4 declares too: rename it\na/y.tf:3 declares local.b, which a/x.tf:2 declares too: rename it\na/y.tf:4 declares local.a,"},
		"a backend":           {map[string]string{"a/x.tf": "terraform {\n  required_version = \">= 1.9\"\n  backend \"s3\" {}\n}\n"}, "a/x.tf:3 has the block backend s3: tenon keeps the state: remove the block"},
		"a cloud":             {map[string]string{"a/x.tf": "terraform {\n  cloud {}\n}\n"}, "a/x.tf:2 has the block cloud: tenon keeps the state"},
		"an encryption":       {map[string]string{"a/x.tf": "terraform {\n  encryption {}\n}\n"}, "a/x.tf:2 has the block encryption: tenon encrypts the state"},
		"the same file":       {map[string]string{"a/main.tf": ""}, "a/main.tf has the name of a file that tenon writes"},
		"the same name twice": {map[string]string{"a/x.tf": "", "b/x.tf": ""}, "a/x.tf and b/x.tf have the same name"},
		"an override":         {map[string]string{"a/x_override.tf": ""}, "a/x_override.tf would replace parts of other files"},
		"another language":    {map[string]string{"a/x.tf.json": "{}"}, "a/x.tf.json is not a file for OpenTofu"},
		"a fault":             {map[string]string{"a/x.tf": "resource {\n"}, "a/x.tf:1"},
	} {
		got, err := terraform.WithOwn(docs, c.own)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want %q", name, err, c.want)
			}
			continue
		}
		if err != nil || len(got) != len(docs)+1 {
			t.Errorf("%s: %d files, %v", name, len(got), err)
		}
		for _, d := range got {
			if d.Name == "x.tf" && (!terraform.Written(d.Content) || !strings.HasSuffix(string(d.Content), c.own["a/x.tf"])) {
				t.Errorf("%s: the copy is\n%s", name, d.Content)
			}
		}
	}
}
