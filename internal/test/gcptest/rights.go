package gcptest

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// A binding lets a service account read or write objects of a bucket under a condition.
type binding struct {
	Bucket, Account, Role string // "read" or "write"
	Condition             string
}

// storageOf returns where a service account finds the storage: a proxy that only lets it do what its bindings allow. The
// caller has locked s.
func (s *server) storageOf(account string) (string, error) {
	if at := s.doors[account]; at != "" {
		return at, nil
	}
	to, err := url.Parse(s.storage)
	if err != nil {
		return "", err
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	at, err := s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.mayStore(account, r) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			// The caller may be gone.
			_ = json.NewEncoder(w).Encode(object{"error": object{"code": http.StatusForbidden, "message": account + " does not have access to the Google Cloud Storage object."}})
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	if err != nil {
		return "", err
	}
	s.doors[account] = "http://" + at
	return s.doors[account], nil
}

// storagePath are the forms of the paths of requests: of the JSON API, also for uploads and downloads, and of downloads by
// name.
var storagePath = regexp.MustCompile(`^(?:/upload|/download)?/storage/v1/b/([^/]+)/o(?:/([^/]+))?(/[^?]*)?$|^/([^/]+)/(.+)$`)

// mayStore reports whether bindings allow an account a request.
func (s *server) mayStore(account string, r *http.Request) bool {
	m := storagePath.FindStringSubmatch(r.URL.EscapedPath())
	if m == nil {
		return false
	}
	unescaped := func(text string) string {
		plain, err := url.PathUnescape(text)
		if err != nil {
			return text
		}
		return plain
	}
	bucket, name, role, prefix := m[1]+m[4], unescaped(m[2]+m[5]), "read", ""
	switch {
	case r.Method == http.MethodGet && name == "":
		prefix = r.URL.Query().Get("prefix")
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
	case m[3] != "": // a copy, which no unit makes
		return false
	default:
		role = "write"
		if name == "" {
			name = uploaded(r)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.bindings {
		if b.Account == account && b.Bucket == bucket && b.Role == role && b.holds("projects/_/buckets/"+bucket+"/objects/"+name, prefix) {
			return true
		}
	}
	return false
}

// uploaded returns the name of the object of an upload, which is in the query or in the first part of the body. The
// request keeps its body.
func uploaded(r *http.Request) string {
	if name := r.URL.Query().Get("name"); name != "" {
		return name
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return ""
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var first io.Reader = bytes.NewReader(body)
	if kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && strings.HasPrefix(kind, "multipart/") {
		part, err := multipart.NewReader(first, params["boundary"]).NextPart()
		if err != nil {
			return ""
		}
		first = part
	}
	var is struct{ Name string }
	_ = json.NewDecoder(first).Decode(&is) // without one, nothing is allowed
	return is.Name
}

var operand = regexp.MustCompile(`^(resource\.name|api\.getAttribute\("storage\.googleapis\.com/objectListPrefix", ""\))\.startsWith\("([^"\\]*)"\)$`)

// holds evaluates a condition, of the form that tenon writes, for an object or the prefix of a list.
func (b binding) holds(object, prefix string) bool {
	return slices.ContainsFunc(strings.Split(b.Condition, " || "), func(text string) bool {
		switch m := operand.FindStringSubmatch(text); {
		case m == nil:
			return false
		case m[1] == "resource.name":
			return strings.HasPrefix(object, m[2])
		default:
			return prefix != "" && strings.HasPrefix(prefix, m[2])
		}
	})
}

// bindingsIn returns the bindings of the bucket in files of Terraform that tenon has written.
func bindingsIn(files map[string]*hclsyntax.Body) (all []binding, err error) {
	locals, labels := map[string]string{}, map[string]string{} // texts, and accounts by label
	context := &hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{"project": cty.StringVal(Project)})}}
	var failed error
	text := func(b *hclsyntax.Body, name string) string {
		v, diags := b.Attributes[name].Expr.Value(context)
		if diags.HasErrors() {
			failed = diags
			return ""
		}
		return v.AsString()
	}
	each := func(kind string, do func(label string, b *hclsyntax.Body)) {
		for _, f := range files {
			for _, b := range f.Blocks {
				if len(b.Labels) == 2 && b.Labels[0] == kind || len(b.Labels) == 0 && b.Type == kind {
					do(strings.Join(b.Labels[min(1, len(b.Labels)):], ""), b.Body)
				}
			}
		}
	}
	each("locals", func(_ string, b *hclsyntax.Body) {
		for _, name := range []string{"bucket", "root"} {
			if a := b.Attributes[name]; a != nil && len(a.Expr.Variables()) == 0 {
				locals[name] = text(b, name)
			}
		}
	})
	each("google_storage_bucket", func(_ string, b *hclsyntax.Body) { locals["bucket"] = text(b, "name") })
	each("google_service_account", func(label string, b *hclsyntax.Body) {
		labels[label] = text(b, "account_id") + "@" + Project + ".iam.gserviceaccount.com"
	})
	context.Variables["local"] = cty.ObjectVal(map[string]cty.Value{
		"bucket": cty.StringVal(locals["bucket"]), "root": cty.StringVal(locals["root"]),
		"objects": cty.StringVal("projects/_/buckets/" + locals["bucket"] + "/objects/" + locals["root"]),
	})
	named := func(b *hclsyntax.Body, attribute string) string { // the resource that an attribute refers to
		if v := b.Attributes[attribute].Expr.Variables(); len(v) == 1 && len(v[0]) > 1 {
			if a, is := v[0][1].(hcl.TraverseAttr); is {
				return a.Name
			}
		}
		return ""
	}
	each("google_storage_bucket_iam_member", func(_ string, b *hclsyntax.Body) {
		if len(b.Blocks) == 1 { // one without a condition allows nothing here
			all = append(all, binding{locals["bucket"], labels[named(b, "member")], named(b, "role"), text(b.Blocks[0].Body, "expression")})
		}
	})
	return all, failed
}
