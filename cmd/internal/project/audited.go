package project

import (
	"context"
	"encoding/json"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// Audited calls f for lines of the audit log of a deployment, the oldest first. Without a name it is
// the only deployment that has one.
func (w *Workspace) Audited(ctx context.Context, name string, o RequestsOptions, f func(text string, line requests.AuditLine) error) (unit string, err error) {
	s, err := w.deployed(ctx)
	if err != nil {
		return "", err
	}
	u, err := s.deployment(name, audits, "audits", "audit: {}")
	if err != nil {
		return "", err
	}
	dir, err := w.brought(ctx, u, requests.Audit(w.kept(u)), o.Since)
	if err = w.partly(err); err != nil {
		return u.ID, err
	}
	return u.ID, requests.Audited(requests.Selection{Log: dir, Since: o.Since, ID: o.ID, Limit: o.Limit}, f)
}

// audits reports whether a service keeps an audit log.
func audits(u *ir.Unit) bool {
	var params struct {
		Audit *struct{} `json:"audit"`
	}
	return u.Kind == ir.Service && json.Unmarshal(u.Params, &params) == nil && params.Audit != nil
}
