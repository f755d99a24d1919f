// Sequelize, over mysql2. What is printed and how it is told where to connect to: ../README.md
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const { DataTypes, QueryTypes, Sequelize, Transaction } = require('sequelize');

const { env } = process;

function connect(options = {}) {
  return new Sequelize(env.DB_SCHEMA, env.DB_USER, env.DB_PASSWORD, {
    dialect: 'mysql',
    host: env.DB_HOST,
    port: Number(env.DB_PORT),
    logging: false,
    define: { timestamps: false },
    pool: { max: 1 },
    ...options,
  });
}

function report(check, saw) {
  console.log(JSON.stringify({ check, saw }));
}

async function failure(action) {
  try {
    await action();
  } catch (error) {
    const { code, errno, sqlState, sqlMessage } = error.original;
    return [error.name, code, errno, sqlState, sqlMessage];
  }
  throw new Error('an error was expected');
}

const database = connect();
const Owner = database.define('Owner', { name: { type: DataTypes.STRING(50), allowNull: false, unique: 'names' } });
const Cat = database.define('Cat', { name: DataTypes.STRING(50) }, { indexes: [{ fields: ['name'] }] });
Owner.hasMany(Cat, { foreignKey: { allowNull: false }, onDelete: 'RESTRICT' });
Cat.belongsTo(Owner);
const Typed = database.define('Typed', {
  big: DataTypes.BIGINT.UNSIGNED,
  exact: DataTypes.DECIMAL(30, 10),
  approximate: DataTypes.DOUBLE,
  truth: DataTypes.BOOLEAN,
  day: DataTypes.DATEONLY,
  at: DataTypes.DATE(3),
  time: DataTypes.TIME,
  text: DataTypes.TEXT,
  data: DataTypes.BLOB,
  choice: DataTypes.ENUM('one', 'two'),
  document: DataTypes.JSON,
  key: DataTypes.UUID,
  nothing: DataTypes.INTEGER,
});

const checks = {
  async connect() {
    await database.authenticate();
    report('connect', [await database.databaseVersion(), await database.query('SELECT 1, ? AS text', { replacements: ['t'] })]);
  },

  async connectWithTls() {
    const tls = connect({ dialectOptions: { ssl: { ca: fs.readFileSync(env.DB_CA) } } });
    report('connect with TLS', await tls.query("SELECT 'text' AS text", { type: QueryTypes.SELECT }));
    await tls.close();
  },

  async migrations() {
    await database.sync();
    const queries = database.getQueryInterface();
    await queries.addColumn('Cats', 'lives', { type: DataTypes.INTEGER, defaultValue: 9 });
    await queries.renameColumn('Cats', 'lives', 'livesLeft');
    await queries.addIndex('Cats', ['livesLeft'], { name: 'lives' });
    const indexes = (await queries.showIndex('Cats')).map(({ name, unique, fields }) => [name, unique, fields]);
    report('migrations', [await queries.showAllTables(), await queries.describeTable('Cats'), indexes]);
    await queries.removeColumn('Cats', 'livesLeft');
  },

  async types() {
    const values = {
      big: '18446744073709551615', exact: '-12345678901234567890.0123456789', approximate: -2.5e300, truth: true,
      day: '1000-01-01', at: new Date('2026-11-22T10:11:12.123Z'), time: '13:14:15', text: 'naïve 海峡 🌉 \'q\' \\ \n ?',
      data: Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)), choice: 'two', document: { a: [1, null] },
      key: '123e4567-e89b-12d3-a456-426655440000', nothing: null,
    };
    const { id } = await Typed.create(values);
    const back = await Typed.findByPk(id, { raw: true });
    const { truth, document, big, ...rest } = back;
    assert.equal(String(truth), '1');
    assert.deepEqual(rest.data, values.data);
    assert.deepEqual([rest.at, rest.text, rest.exact], [values.at, values.text, values.exact]);
    report('types', [back, typeof document]);
  },

  async preparedStatements() {
    // With `bind` Sequelize prepares the statement on the server.
    const bound = (from, to) => database.query('SELECT id, big FROM Typeds WHERE id >= $1 AND id < $2',
      { bind: [from, to], type: QueryTypes.SELECT });
    report('prepared statements', [await bound(1, 10), await bound(2, 10)]);
  },

  async transactions() {
    const seen = [];
    await assert.rejects(database.transaction(async (transaction) => {
      await Owner.create({ name: 'Ada' }, { transaction });
      throw new RangeError('given up');
    }), RangeError);
    seen.push(await Owner.count());
    await database.transaction({ isolationLevel: Transaction.ISOLATION_LEVELS.SERIALIZABLE }, async (transaction) => {
      const ada = await Owner.create({ name: 'Ada', Cats: [{ name: 'Mia' }, { name: 'Leo' }] }, { include: Cat, transaction });
      const savepoint = await database.transaction({ transaction });
      await Owner.create({ name: 'Grace' }, { transaction: savepoint });
      await savepoint.rollback();
      const leo = await Cat.findOne({ where: { name: 'Leo' }, lock: transaction.LOCK.UPDATE, transaction });
      await leo.update({ name: 'Leon' }, { transaction });
      seen.push(await ada.countCats({ transaction }));
    });
    const owners = await Owner.findAll({ include: Cat, order: ['id', [Cat, 'id', 'ASC']] });
    seen.push(owners.map(({ name, Cats }) => [name, Cats.map((cat) => cat.name)]));
    await Cat.destroy({ where: { name: 'Mia' } });
    seen.push(await Cat.count());
    assert.deepEqual(seen, [0, 2, [['Ada', ['Mia', 'Leon']]], 1]);
    report('transactions', seen);
  },

  async bulkInsert() {
    await Owner.bulkCreate(Array.from({ length: 3000 }, (_, number) => ({ name: `owner ${number}` })));
    const [updated] = await Owner.update({ name: database.fn('CONCAT', database.col('name'), '!') },
      { where: { name: { [Sequelize.Op.like]: 'owner 1%' } } });
    assert.equal(updated, 1111);
    const [upserted, created] = await Owner.upsert({ id: 1, name: 'Ada Lovelace' });
    report('bulk insert', [await Owner.count(), updated, created, upserted.name, await Owner.max('name')]);
  },

  async errors() {
    const seen = [];
    for (const statement of ['SELEKT 1', 'SELECT * FROM missing', 'INSERT INTO Cats (name, OwnerId) VALUES (1, NULL)']) {
      seen.push(await failure(() => database.query(statement)));
    }
    seen.push(await failure(() => Owner.create({ name: 'owner 2' })));
    seen.push(await failure(() => Cat.create({ name: 'Tom', OwnerId: -1 })));
    assert.deepEqual(seen.map(([, , errno]) => errno), [1064, 1146, 1048, 1062, 1452]);
    const wrong = new Sequelize(env.DB_SCHEMA, env.DB_USER, 'wrong', { ...database.options });
    assert.equal((await failure(() => wrong.authenticate()))[2], 1045);
    report('errors', seen);
  },

  async bigResults() {
    const owners = await Owner.findAll({ order: ['id'], attributes: ['id', [database.fn('REPEAT', 'x', 3000), 'text']], raw: true });
    assert.ok(owners.every(({ text }) => text.length === 3000));
    report('big results', owners.length);
    assert.equal(owners.length, 3002);
  },
};

(async () => {
  for (const check of Object.values(checks)) await check();
  await database.close();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
