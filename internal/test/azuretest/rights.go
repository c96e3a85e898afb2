package azuretest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/tenon-ml/tenon/internal/test/containers"
)

// user is who runs tenon, and may do everything.
const user = "user"

const forStorage = "https://storage.azure.com"

// An identity is that of a unit, with its rights.
type identity struct {
	id     string            // of the resource
	blobs  map[string]string // conditions, by role: "read", "write", "remove"
	of     string            // "ACCOUNT-CONTAINER"
	secret []string          // "VAULT/secrets/NAME"
}

// token returns one for an identity. Its signature is not checked.
func token(identity, audience string) string {
	part := func(o object) string {
		b, _ := json.Marshal(o) // of texts and numbers
		return base64.RawURLEncoding.EncodeToString(b)
	}
	now := time.Now().Unix()
	return part(object{"alg": "none", "typ": "JWT"}) + "." + part(object{
		"aud": audience, "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/", "iat": now - 60, "nbf": now - 60, "exp": now + 24*3600, "appid": identity,
	}) + ".e30"
}

// bearer returns whose token a request has, and for what.
func bearer(r *http.Request) (identity, audience string) {
	parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
	if len(parts) != 3 {
		return "", ""
	}
	var is struct{ AppID, Aud string }
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(b, &is) != nil {
		return "", ""
	}
	return is.AppID, is.Aud
}

// identify answers what the endpoint of identities in a container answers. The header says which identity the container
// has.
func (s *server) identify(w http.ResponseWriter, r *http.Request) {
	q, has := r.URL.Query(), r.Header.Get("X-IDENTITY-HEADER")
	if id := q.Get("client_id"); has == "" || has != user && id != has || has == user && id != "" {
		http.Error(w, `{"statusCode": 400, "message": "No such identity."}`, http.StatusBadRequest)
		return
	}
	resource := q.Get("resource")
	_ = json.NewEncoder(w).Encode(object{ // the caller may be gone
		"access_token": token(has, resource), "expires_on": fmt.Sprint(time.Now().Add(24 * time.Hour).Unix()), "resource": resource, "token_type": "Bearer", "client_id": has,
	})
}

// blob passes a request of blobs on, if the conditions of the roles of its identity allow it.
func (s *server) blob(w http.ResponseWriter, r *http.Request) {
	who, audience := bearer(r)
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/blobs/"), "/", 3) // account, container, blob
	if audience != forStorage || len(parts) < 2 || !s.mayBlob(who, parts, r) {
		w.Header().Set("x-ms-error-code", "AuthorizationPermissionMismatch")
		w.WriteHeader(http.StatusForbidden)
		return
	}
	// Listing a container has no path below it.
	r.URL.Path = "/" + blobAccount + "/" + parts[0] + "-" + strings.Join(parts[1:], "/")
	r.URL.RawPath = ""
	s.proxy.ServeHTTP(w, r)
}

func (s *server) mayBlob(who string, parts []string, r *http.Request) bool {
	if who == user {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.identities[who]
	if i == nil || i.of != parts[0]+"-"+parts[1] {
		return false
	}
	switch {
	case r.Method == http.MethodGet && len(parts) == 2 && r.URL.Query().Get("comp") == "list":
		return begins(i.blobs["read"], "prefix", r.URL.Query().Get("prefix"))
	case len(parts) < 3:
		return false
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return begins(i.blobs["read"], "path", parts[2])
	case r.Method == http.MethodPut:
		return begins(i.blobs["write"], "path", parts[2])
	case r.Method == http.MethodDelete:
		return begins(i.blobs["remove"], "path", parts[2])
	}
	return false
}

var operand = regexp.MustCompile(`blobs:(path|prefix)\] StringStartsWith '([^']*)'`)

// begins reports whether a condition, of the form that tenon writes, is true for a path or a prefix.
func begins(condition, attribute, of string) bool {
	return slices.ContainsFunc(operand.FindAllStringSubmatch(condition, -1), func(m []string) bool {
		return m[1] == attribute && strings.HasPrefix(of, m[2])
	})
}

// clientOf returns the client id of the identity with a name.
func clientOf(name string) string { return "client-of-" + name }

// Provision makes what jobs need of the infrastructure in files of Terraform: containers of blobs, a registry, identities
// with their rights, vaults, environments. It knows the expressions that tenon writes for their names.
func (c *Cloud) Provision(files map[string][]byte) error {
	texts := object{}
	for name, text := range files {
		texts[name] = string(text)
	}
	return c.post(object{"provision": texts}, &[]string{})
}

// control does what [Cloud] asks for.
func (s *server) control(body object) error {
	if text, is := body["refuse"].(string); is {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refusals = append(s.refusals, text)
	}
	texts, _ := body["provision"].(object)
	made := map[string]map[string]*hclsyntax.Body{} // by type and name
	for name, x := range texts {
		text, _ := x.(string)
		f, diags := hclsyntax.ParseConfig([]byte(text), name, hcl.InitialPos)
		if diags.HasErrors() {
			return diags
		}
		for _, b := range f.Body.(*hclsyntax.Body).Blocks { //nolint:forcetypeassert // of ParseConfig
			if b.Type == "resource" {
				if made[b.Labels[0]] == nil {
					made[b.Labels[0]] = map[string]*hclsyntax.Body{}
				}
				made[b.Labels[0]][b.Labels[1]] = b.Body
			}
		}
	}
	if texts == nil {
		return nil
	}
	return s.provision(made)
}

const group = "/subscriptions/" + Subscription + "/resourceGroups/" + Group + "/providers/"

func (s *server) provision(made map[string]map[string]*hclsyntax.Body) error {
	var failed error
	vault := cty.ObjectVal(map[string]cty.Value{"secrets": cty.ObjectVal(map[string]cty.Value{"id": cty.StringVal("")})})
	text := func(b *hclsyntax.Body, name string) string {
		if b == nil || b.Attributes[name] == nil {
			return ""
		}
		x := b.Attributes[name].Expr
		if t, is := x.(*hclsyntax.ScopeTraversalExpr); is && len(t.Traversal) > 1 {
			if a, is := t.Traversal[1].(hcl.TraverseAttr); is {
				return a.Name // of a resource, or a local value
			}
		}
		v, diags := x.Value(&hcl.EvalContext{Variables: map[string]cty.Value{"azurerm_key_vault": vault}})
		if diags.HasErrors() || v.Type() != cty.String {
			failed = errors.Join(failed, fmt.Errorf("the fake cannot evaluate %s: %w", name, diags))
			return ""
		}
		return v.AsString()
	}
	account, container := text(made["azurerm_storage_account"]["artifacts"], "name"), text(made["azurerm_storage_container"]["artifacts"], "name")
	if account != "" {
		if err := s.container(account, container); err != nil {
			return err
		}
	}
	registry := text(made["azurerm_container_registry"]["images"], "name")
	if registry != "" {
		if err := containers.Mirror(s.dir+"/hosts", registry+".azurecr.io", s.images.Registry); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resources[group+"Microsoft.ContainerRegistry/registries/"+registry] = object{}
	names := map[string]string{} // of identities, by label
	for label, b := range made["azurerm_user_assigned_identity"] {
		name := text(b, "name")
		names[label] = name
		id := group + "Microsoft.ManagedIdentity/userAssignedIdentities/" + name
		s.resources[id] = object{"clientId": clientOf(name)}
		s.identities[clientOf(name)] = &identity{id: id, blobs: map[string]string{}, of: account + "-" + container}
	}
	keys := text(made["azurerm_key_vault"]["secrets"], "name")
	if keys != "" && s.vaults[keys] == nil {
		s.vaults[keys] = map[string][]string{}
	}
	for _, b := range made["azurerm_role_assignment"] {
		i := s.identities[clientOf(names[text(b, "principal_id")])]
		if i == nil {
			return errors.New("a role is assigned to no identity")
		}
		switch role := text(b, "role_definition_id"); {
		case role != "":
			i.blobs[role] = text(b, "condition")
		case text(b, "role_definition_name") == "Key Vault Secrets User":
			i.secret = append(i.secret, keys+text(b, "scope"))
		}
	}
	for _, b := range made["azurerm_container_app_environment"] {
		var profiles []string
		for _, p := range b.Blocks {
			if p.Type == "workload_profile" {
				profiles = append(profiles, text(p.Body, "name"))
			}
		}
		s.resources[group+"Microsoft.App/managedEnvironments/"+text(b, "name")] = object{"profiles": profiles}
	}
	for _, b := range made["azurerm_machine_learning_workspace"] {
		id := group + "Microsoft.MachineLearningServices/workspaces/" + text(b, "name")
		s.resources[id] = object{}
		for label, b := range made["azurerm_machine_learning_compute_cluster"] { // whose identity has the same label
			s.clusters[id+"/computes/"+text(b, "name")] = &cluster{[]string{clientOf(names[label])}, text(b, "vm_size")}
		}
	}
	for _, b := range made["azurerm_log_analytics_workspace"] {
		s.resources[group+"Microsoft.OperationalInsights/workspaces/"+text(b, "name")] = object{"customerId": "workspace"}
	}
	return failed
}
