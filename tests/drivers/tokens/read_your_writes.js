'use strict';

const COOKIE = 'isthmus_after';

// For Express and what is like it: gives each request a connection, on which it sees what the same
// person's last one has written, in whatever region. `sign` and `verify` are those of cookie-signature.
module.exports = function readYourWrites(pool, { sign, verify }) {
  return async function (request, response, next) {
    const connection = await pool.getConnection();
    response.on('close', () => connection.release());
    // The proxy announces a token with each write, so it need not be asked for.
    let token;
    await connection.query("SET SESSION session_track_system_variables = 'isthmus_token'");
    request.db = async (sql, values) => {
      const [result, fields] = await connection.query(sql, values);
      token = result.stateChanges?.systemVariables?.isthmus_token ?? token;
      if (token) response.setHeader('Set-Cookie', `${COOKIE}=${encodeURIComponent(sign(token))}; Path=/; HttpOnly; Max-Age=60`);
      return [result, fields];
    };
    const cookie = new RegExp(`${COOKIE}=([^;]+)`).exec(request.headers.cookie ?? '');
    const after = cookie && verify(decodeURIComponent(cookie[1]));
    if (after) await connection.query('SET @isthmus_after = ?', [after]);
    await next();
  };
};
