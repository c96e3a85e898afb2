package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// InfrastructureRecord names the record of infrastructure among those of loops. No unit has such a name.
const InfrastructureRecord = "infrastructure"

// Infrastructure is a version of what Terraform knows of the resources of an environment.
type Infrastructure struct {
	Version  int64     `json:"version"` // of the environment, from 1
	At       time.Time `json:"at"`
	Revision int       `json:"revision"` // that changed it
	InfrastructureDetail
}

// An InfrastructureDetail is what is recorded with a version.
type InfrastructureDetail struct {
	// Apply names the run of the tool that recorded it, as a random text.
	Apply     string `json:"apply,omitempty"`
	Serial    int64  `json:"serial"`    // in the state of Terraform
	Lineage   string `json:"lineage"`   // of that state
	Resources int    `json:"resources"` // that exist
	// Config is the digest of the configuration that was applied, a blob, and Tool what applied it:
	// "OpenTofu 1.12.6".
	Config string `json:"config,omitempty"`
	Tool   string `json:"tool,omitempty"`
	// Place says where the resources are: "region eu-central-1".
	Place string `json:"place,omitempty"`
	// Locks has the versions and digests of providers: the content of .terraform.lock.hcl.
	Locks string `json:"locks,omitempty"`
	// Key names the key with which Sealed was encrypted, the state of Terraform.
	Key    string `json:"key"`
	Sealed []byte `json:"sealed"`
}

// RecordInfrastructure records a new version and returns its number. It ignores the version of i.
func (l *Lease) RecordInfrastructure(ctx context.Context, i Infrastructure) (int64, error) {
	detail, err := json.Marshal(i.InfrastructureDetail)
	if err != nil {
		return 0, fmt.Errorf("record infrastructure: %w", err)
	}
	var number int64
	err = l.change(ctx, true, "record infrastructure", func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `INSERT INTO loop_act(env, loop, number, made, act, of_act, identity, reason, cause, revision, detail)
			SELECT ?, ?, coalesce(max(number), 0) + 1, ?, 'version', 0, '', '', '', ?, ? FROM loop_act WHERE env = ? AND loop = ? RETURNING number`,
			l.s.env, InfrastructureRecord, fromTime(orNow(i.At)), i.Revision, string(detail), l.s.env, InfrastructureRecord).Scan(&number)
	})
	return number, err
}

// Infrastructure returns the newest version of the environment, or nil if there is none.
func (s *Store) Infrastructure(ctx context.Context) (*Infrastructure, error) {
	all, err := s.InfrastructureVersions(ctx, 1)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

// InfrastructureVersions returns the versions of the environment, newest first. A limit of 0 means no limit.
func (s *Store) InfrastructureVersions(ctx context.Context, limit int) ([]Infrastructure, error) {
	acts, err := s.LoopActs(ctx, InfrastructureRecord, time.Time{}, limit)
	if err != nil {
		return nil, err
	}
	all := make([]Infrastructure, len(acts))
	for i, a := range acts {
		all[i] = Infrastructure{Version: a.Number, At: a.At, Revision: a.Revision}
		if err := json.Unmarshal(a.Detail, &all[i].InfrastructureDetail); err != nil {
			return nil, fmt.Errorf("version %d of the infrastructure: %w", a.Number, err)
		}
	}
	return all, nil
}
