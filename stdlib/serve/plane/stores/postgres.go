package stores

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

type postgresStore struct {
	common
	pool     *pgxpool.Pool
	versions string // the table of them
}

func openPostgres(c common) (Store, error) {
	config, err := pgxpool.ParseConfig(c.spec.URL)
	if err != nil {
		return nil, err
	}
	if c.password != "" {
		config.ConnConfig.Password = c.password
	}
	config.MaxConns = int32(c.connections())
	config.ConnConfig.ConnectTimeout = max(c.timeout, time.Second)
	config.ConnConfig.RuntimeParams["application_name"] = "tenon-serve"
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, err
	}
	return &postgresStore{c, pool, pgx.Identifier{c.spec.Schema, "versions"}.Sanitize()}, nil
}

func (s *postgresStore) Close() { s.pool.Close() }

func (s *postgresStore) table(version string) pgx.Identifier {
	return pgx.Identifier{s.spec.Schema, "t_" + version}
}

func (s *postgresStore) Use(ctx context.Context, version string) (info Info, err error) {
	err = s.pool.QueryRow(ctx, "UPDATE "+s.versions+" SET used = now(), keep = greatest(keep, $2) WHERE version = $1 RETURNING rows, ordered", version, s.keep).Scan(&info.Rows, &info.Ordered)
	var at *pgconn.PgError
	const undefinedTable, invalidSchema = "42P01", "3F000"
	if errors.Is(err, pgx.ErrNoRows) || errors.As(err, &at) && (at.Code == undefinedTable || at.Code == invalidSchema) {
		return info, ErrNone
	}
	return info, err
}

func (s *postgresStore) Write(ctx context.Context, version string, info Info, next func() (key, row []byte, err error)) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// Statements that make what is there already fail if two run at once.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext($1))", s.versions); err != nil {
			return err
		}
		for _, statement := range []string{
			"CREATE SCHEMA IF NOT EXISTS " + pgx.Identifier{s.spec.Schema}.Sanitize(),
			"CREATE TABLE IF NOT EXISTS " + s.versions + " (version text PRIMARY KEY, rows bigint NOT NULL, ordered boolean NOT NULL, used timestamptz NOT NULL, keep interval NOT NULL)",
			"DROP TABLE IF EXISTS " + s.table(version).Sanitize(),
			"CREATE TABLE " + s.table(version).Sanitize() + " (k bytea PRIMARY KEY, r bytea NOT NULL)",
		} {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		written, err := tx.CopyFrom(ctx, s.table(version), []string{"k", "r"}, pgx.CopyFromFunc(func() ([]any, error) {
			key, row, err := next()
			if err != nil || key == nil {
				return nil, err
			}
			return []any{key, row}, nil
		}))
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "INSERT INTO "+s.versions+" VALUES ($1, $2, $3, now(), $4) ON CONFLICT (version) DO UPDATE SET rows = $2, used = now()", version, written, info.Ordered, s.keep)
		return err
	})
	if err != nil {
		return err
	}
	if _, err := s.pool.Exec(ctx, "ANALYZE "+s.table(version).Sanitize()); err != nil {
		return err
	}
	return s.removeUnused(ctx)
}

// removeUnused removes versions that nobody has used for long.
func (s *postgresStore) removeUnused(ctx context.Context) error {
	rows, err := s.pool.Query(ctx, "SELECT version FROM "+s.versions+" WHERE used + keep < now()")
	if err != nil {
		return err
	}
	versions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, v := range versions {
		err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			// A service that has begun to use it meanwhile has changed the row, or finds none.
			gone, err := tx.Exec(ctx, "DELETE FROM "+s.versions+" WHERE version = $1 AND used + keep < now()", v)
			if err != nil || gone.RowsAffected() == 0 {
				return err
			}
			_, err = tx.Exec(ctx, "DROP TABLE IF EXISTS "+s.table(v).Sanitize())
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *postgresStore) Get(ctx context.Context, version string, info Info, wants []rowsql.Want, set func(int, []byte, []byte) error) error {
	table := s.table(version).Sanitize()
	query := "SELECT w.i, t.k, t.r FROM unnest($1::bytea[]) WITH ORDINALITY AS w(k, i) JOIN " + table + " t ON t.k = w.k"
	from, to := make([][]byte, len(wants)), make([][]byte, 0, len(wants))
	for i, w := range wants {
		if from[i] = w.Key; w.Key == nil {
			from[i] = []byte{}
		}
	}
	args := []any{from}
	if info.Ordered {
		order := ""
		if wants[0].Last {
			order = " DESC"
		}
		for _, w := range wants {
			to = append(to, w.End)
		}
		args = append(args, to)
		query = "SELECT w.i, n.k, n.r FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS w(a, b, i) CROSS JOIN LATERAL (SELECT k, r FROM " + table +
			" WHERE k >= w.a AND k < w.b ORDER BY k" + order + " LIMIT 1) n"
	}
	rows, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	found := make([]bool, len(wants))
	for rows.Next() {
		var i int
		var key, row []byte
		if err := rows.Scan(&i, &key, &row); err != nil {
			return err
		}
		if i < 1 || i > len(wants) {
			return errors.New("it has an answer to no question")
		}
		found[i-1] = true
		if err := set(i-1, key, row); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for i := range wants {
		if !found[i] {
			if err := set(i, nil, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
