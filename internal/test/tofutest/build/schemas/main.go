// Schemas is a provider for tests that is made from the schema of another one, as
// internal/test/tfschema/reduce.py reduces it. It compares a configuration with the schema, as OpenTofu does for every
// provider, and keeps resources in a folder, one file each. See tofutest for how it is used.
//
// A schema does not say what a provider does. In particular:
//
//   - It has no kinds of values: every attribute takes any. Blocks that may be repeated and those that may not are
//     written alike.
//   - It does not say which changes need a replacement. Here they are those of attributes that are in the id of a resource
//     in values.json.
//   - It does not say what a cloud computes or refuses. values.json has what the files of tenon read. Two resources with
//     the same id are refused, as is the removal of what has deletion_protection.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
)

// Variables that say what the provider works with.
const (
	schemasVariable = "TENON_TEST_SCHEMAS" // folder of NAME.json
	cloudVariable   = "TENON_TEST_CLOUD"   // folder of the resources
	hookVariable    = "TENON_TEST_HOOK"    // URL that gets each change, or ""
	faultVariable   = "TENON_TEST_FAULT"   // see fault, or ""
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve() error {
	// OpenTofu starts .../terraform-provider-NAME_vVERSION.
	name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(os.Args[0]), "terraform-provider-"), "_v")
	p, err := newProvider(name)
	if err != nil {
		return err
	}
	return tf5server.Serve("hashicorp/"+name, func() tfprotov5.ProviderServer { return p })
}
