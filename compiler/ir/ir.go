package ir

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Version is the version of the representation. It is raised when an older
// reader would misread a newer document.
const Version = 1

// A System is one compiled system. Units are sorted by ID and form an acyclic
// graph through their inputs.
type System struct {
	Version int    `json:"ir"`
	Name    string `json:"name"`
	Target  Target `json:"target"`
	Pools   []Pool `json:"pools,omitempty"`
	Moved   []Move `json:"moved,omitempty"` // in the order they are to be made
	Units   []Unit `json:"units"`
	// Entities are the declared entities but for targets, sorted by ID. A system that
	// was stored by an earlier version has none.
	Entities []Entity `json:"entities,omitempty"`
}

// A Move is an entity, or a unit, that has been given another name.
type Move struct {
	From string `json:"from"` // "models/late"
	To   string `json:"to"`
}

// A Fault is a field of a unit that an executor cannot honour.
type Fault struct {
	Field   string // as the user wrote it: "needs.gpu"
	Message string
	Hint    string
	Target  bool // the field is one of the target
}

// Unit returns the unit with the given id, or nil.
func (s *System) Unit(id string) *Unit {
	for i := range s.Units {
		if s.Units[i].ID == id {
			return &s.Units[i]
		}
	}
	return nil
}

// A Target binds the system to an executor and its settings.
type Target struct {
	Name     string         `json:"name"`
	Executor string         `json:"executor"`
	Settings map[string]any `json:"settings,omitempty"`
}

// Base is the image on which the images of units are made, "" if the target runs
// no images.
func (t Target) Base() string {
	base, _ := t.Settings["base"].(string)
	return base
}

// A Pool is a named amount of resources that units draw from. Its GPUs are lent
// whole, or each in equal shares, or each in slices.
type Pool struct {
	Name string `json:"name"`
	Resources
	Shares int64   `json:"gpu_shares,omitempty"` // of each device
	Slices []Slice `json:"gpu_slices,omitempty"` // of each device, sorted by name
	Teams  []Team  `json:"teams,omitempty"`      // sorted by name
}

// A Slice is a part of a device with a memory of its own.
type Slice struct {
	Name   string `json:"name"`   // "1g.10gb"
	Count  int64  `json:"count"`  // on each device
	Memory int64  `json:"memory"` // bytes, of each
}

// A Team is a group of units with a guarantee in a pool.
type Team struct {
	Name   string `json:"name"`
	GPU    int64  `json:"gpu,omitempty"`    // parts it is guaranteed, see [Pool.Lends]
	Borrow bool   `json:"borrow,omitempty"` // may have more, of what is idle
	Yields bool   `json:"yields,omitempty"` // what it borrows is taken back
}

// Resources are exact amounts: thousandths of a core, bytes, devices. Zero means
// "none asked for"; for a pool, "none there".
type Resources struct {
	MilliCPU  int64  `json:"milli_cpu,omitempty"`
	Memory    int64  `json:"memory,omitempty"`     // bytes
	Disk      int64  `json:"disk,omitempty"`       // bytes a unit may write
	PIDs      int64  `json:"pids,omitempty"`       // processes and threads a unit may have; pools have no such bound
	GPU       int64  `json:"gpu,omitempty"`        // devices, or parts of devices
	GPUMemory int64  `json:"gpu_memory,omitempty"` // bytes, of each
	GPUModel  string `json:"gpu_model,omitempty"`
	GPUSlice  string `json:"gpu_slice,omitempty"` // which slice a unit wants
	Nodes     int64  `json:"nodes,omitempty"`     // machines on which a unit has all the rest at once; 0 is one
}

// Kind says how a unit lives.
type Kind string

const (
	Job     Kind = "job"     // runs to an end and leaves artifacts
	Service Kind = "service" // stays up until replaced or destroyed
	Record  Kind = "record"  // is written: a rule file, a registry entry
)

// A Unit is a node of the graph.
type Unit struct {
	ID        string          `json:"id"`        // "models/late/train"
	Entity    string          `json:"entity"`    // "models/late"
	Kind      Kind            `json:"kind"`      //
	Component string          `json:"component"` // "train.sklearn"
	Code      Code            `json:"code"`
	Params    json.RawMessage `json:"params,omitempty"` // a JSON object with sorted keys
	Files     []string        `json:"files,omitempty"`  // data read: paths or globs, relative to the system's folder
	Inputs    []Input         `json:"inputs,omitempty"`
	Outputs   []Output        `json:"outputs,omitempty"`
	Secrets   []Secret        `json:"secrets,omitempty"`
	Seed      int64           `json:"seed,omitempty"`

	Needs    Resources     `json:"needs,omitzero"`
	Pool     string        `json:"pool,omitempty"`
	Team     string        `json:"team,omitempty"`     // whose GPUs it has
	Priority int           `json:"priority,omitempty"` // among what waits: higher first
	Retries  int           `json:"retries,omitempty"`
	Timeout  time.Duration `json:"timeout_ns,omitempty"`
	Network  Network       `json:"network,omitempty"`
	// Kubernetes is how a cluster places it.
	Kubernetes *Placement    `json:"kubernetes,omitempty"`
	MaxAge     time.Duration `json:"max_age_ns,omitempty"` // an older result is made again
	Endpoint   *Endpoint     `json:"endpoint,omitempty"`   // services only
	Pos        Pos           `json:"pos"`                  // where the entity is declared
	Digest     string        `json:"digest"`               // of the definition, see [Unit.Define]
}

// Draws is what the unit takes from its pool: its needs on every node.
func (u *Unit) Draws() Resources {
	r, n := u.Needs, max(u.Needs.Nodes, 1)
	for _, amount := range []*int64{&r.MilliCPU, &r.Memory, &r.Disk, &r.GPU} {
		if *amount > beyond/n {
			*amount = beyond
		} else {
			*amount *= n
		}
	}
	return r
}

// SecretField is where the user wrote the secret: "secrets.TOKEN", or "dsn".
func (u *Unit) SecretField(s Secret) string {
	if strings.HasPrefix(u.Entity, "sources/") {
		return strings.ToLower(s.Name)
	}
	return "secrets." + s.Name
}

// beyond is more than any pool has, and can be added to.
const beyond = 1 << 62

// HasArtifacts reports whether the unit leaves more than an address.
func (u *Unit) HasArtifacts() bool {
	return slices.ContainsFunc(u.Outputs, func(o Output) bool { return o.Kind != EndpointOf })
}

// Entity and stage of an id such as "models/late/train": "models/late", "train".
func SplitID(id string) (entity, stage string) {
	parts := strings.SplitN(id, "/", 3)
	if len(parts) == 3 {
		return parts[0] + "/" + parts[1], parts[2]
	}
	return id, ""
}

// Code is what a unit runs.
type Code struct {
	Runtime Runtime    `json:"runtime"`
	Source  string     `json:"source,omitempty"`  // digest of the sources of a builtin
	Python  string     `json:"python,omitempty"`  // version of the interpreter, "3.11"
	Lock    string     `json:"lock,omitempty"`    // digest of the locked Python environment, a blob
	Image   string     `json:"image,omitempty"`   // reference of the container image that the user named
	Command []string   `json:"command,omitempty"` // argv; for Python, the script and its arguments
	Files   []CodeFile `json:"files,omitempty"`   // laid out in the unit's code folder
}

// Runtime names the way code is started.
type Runtime string

const (
	Builtin Runtime = "builtin" // by tenon itself, as "tenon step"
	Python  Runtime = "python"  // by the interpreter of a locked environment
	Command Runtime = "command" // as any program
)

// A CodeFile is one file of a unit's code. Its content is a blob.
type CodeFile struct {
	Path   string `json:"path"` // slash-separated, relative to the code folder
	Digest string `json:"digest"`
}

// PortKind is the type of what passes between units.
type PortKind string

const (
	Table      PortKind = "table"    // Parquet, with a schema
	Model      PortKind = "model"    // a folder, with a signature
	Report     PortKind = "report"   // a folder with report.json
	EndpointOf PortKind = "endpoint" // a running service
	File       PortKind = "file"     // any file or folder
)

// An Input binds a port to the output of another unit.
type Input struct {
	Port string   `json:"port"`
	Unit string   `json:"unit"` // the producer
	From string   `json:"from"` // its port
	Kind PortKind `json:"kind"`
	// Incumbent asks for the newest registered version of the producer's model
	// that differs from the candidate on port "model". It may be absent, and it
	// makes no edge.
	Incumbent bool     `json:"incumbent,omitempty"`
	Schema    Schema   `json:"schema,omitempty"`
	Keys      []string `json:"keys,omitempty"`      // tables: the entity keys
	Timestamp string   `json:"timestamp,omitempty"` // tables: the event time
}

// An Output is a port that a unit fills.
type Output struct {
	Port      string     `json:"port"`
	Kind      PortKind   `json:"kind"`
	Schema    Schema     `json:"schema,omitempty"`    // tables
	Keys      []string   `json:"keys,omitempty"`      // tables: the entity keys
	Timestamp string     `json:"timestamp,omitempty"` // tables: the event time
	Signature *Signature `json:"signature,omitempty"` // models
	Request   Schema     `json:"request,omitempty"`   // endpoints: of one row that is asked about
	Response  Schema     `json:"response,omitempty"`  // endpoints: what is answered for it
}

// A Schema is the ordered columns of a table.
type Schema []Column

// Column returns the column of that name, or nil.
func (s Schema) Column(name string) *Column {
	for i := range s {
		if s[i].Name == name {
			return &s[i]
		}
	}
	return nil
}

// A Column describes one column. Bounds are decimal numbers as written. Unit and
// Description are documentation for people: they change no result, see
// [Schema.Bare].
type Column struct {
	Name     string      `json:"name"`
	Type     string      `json:"type"` // one of [Types]
	Nullable bool        `json:"nullable,omitempty"`
	Unique   bool        `json:"unique,omitempty"`
	Min      json.Number `json:"min,omitempty"`
	Max      json.Number `json:"max,omitempty"`
	Values   []string    `json:"values,omitempty"` // strings only: the allowed values

	Unit        string `json:"unit,omitempty"` // "EUR"
	Description string `json:"description,omitempty"`
}

// Bare is the column without documentation.
func (c Column) Bare() Column {
	c.Unit, c.Description = "", ""
	return c
}

// Bare is the schema without documentation.
func (s Schema) Bare() Schema {
	if !slices.ContainsFunc(s, func(c Column) bool { return c.Unit != "" || c.Description != "" }) {
		return s
	}
	out := make(Schema, len(s))
	for i, c := range s {
		out[i] = c.Bare()
	}
	return out
}

// Bare is the signature without documentation; nil if there is none.
func (s *Signature) Bare() *Signature {
	if s == nil {
		return nil
	}
	return &Signature{Task: s.Task, Input: s.Input.Bare(), Output: s.Output.Bare()}
}

// Types are the column types, with DuckDB's name for each.
var Types = map[string]string{
	"bool": "BOOLEAN",
	"int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT",
	"uint8": "UTINYINT", "uint16": "USMALLINT", "uint32": "UINTEGER", "uint64": "UBIGINT",
	"float32": "FLOAT", "float64": "DOUBLE",
	"string": "VARCHAR", "bytes": "BLOB",
	"date": "DATE", "time": "TIME", "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMP WITH TIME ZONE",
}

// A Signature is what a model takes and gives, one row at a time.
type Signature struct {
	Task   string `json:"task"` // "classification" or "regression"
	Input  Schema `json:"input"`
	Output Column `json:"output"` // the label
}

// A Secret is a reference that is resolved where the unit runs.
type Secret struct {
	Name string `json:"name"`           // of the environment variable in which the step finds it
	Env  string `json:"env,omitempty"`  // taken from this variable of tenon's environment
	File string `json:"file,omitempty"` // or from this file
	// Kubernetes is the key of a Secret of the cluster, or it is from there. Only
	// the cluster resolves that.
	Kubernetes *SecretKey `json:"kubernetes,omitempty"`
	As         As         `json:"as,omitempty"`
}

// A SecretKey is one value of a Secret of a cluster.
type SecretKey struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// As says how a step finds a secret.
type As string

const (
	AsVariable As = ""     // in the environment variable Name
	AsFile     As = "file" // in a file in memory, whose path is in the variable Name
)

// Network says what a unit may reach. A service has what it needs to listen,
// and who reads an endpoint what it needs to reach it.
type Network string

const (
	NetworkUnsaid Network = ""     // as little as the executor can give
	NetworkNone   Network = "none" // nothing, or it must not run
	NetworkOpen   Network = "open" // whatever the machine reaches
)

// An Endpoint is where a service listens.
type Endpoint struct {
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Ready    string `json:"ready"`    // path that answers 200 once ready
	Replicas int    `json:"replicas"` // at least, if there is a Scale
	Scale    *Scale `json:"scale,omitempty"`
}

// A Scale lets the replicas of a service follow its load.
type Scale struct {
	Max int `json:"max"` // replicas
	CPU int `json:"cpu"` // percent of Needs.MilliCPU that they are to use on average
}

// A Placement is what a cluster is told of pods besides their needs. Names are
// those of objects of the cluster.
type Placement struct {
	NodeSelector   map[string]string `json:"node_selector,omitempty"`
	Tolerations    []Toleration      `json:"tolerations,omitempty"`
	PriorityClass  string            `json:"priority_class,omitempty"`
	Queue          string            `json:"queue,omitempty"` // of Kueue
	ServiceAccount string            `json:"service_account,omitempty"`
	Token          bool              `json:"token,omitempty"` // of the service account, for the program
	Labels         map[string]string `json:"labels,omitempty"`
	Annotations    map[string]string `json:"annotations,omitempty"`
}

// A Toleration lets pods on nodes with a taint. What is empty is any.
type Toleration struct {
	Key    string `json:"key,omitempty"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect,omitempty"`
}

// Pos is a place in the user's sources. It never enters a digest.
type Pos struct {
	File string `json:"file"` // relative to the system's folder
	Line int    `json:"line"`
	Col  int    `json:"col"`
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col) }
