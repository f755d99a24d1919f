# ActiveRecord, over mysql2. What is printed and how it is told where to connect to: ../README.md

require 'active_record'
require 'json'

# What MariaDB calls JSON is text with a check, which ActiveRecord 6.1 fills with a text in quotes.
JSON_TYPE = ENV.fetch('DB_FLAVOR') == 'mysql'

DATABASE = {
  adapter: 'mysql2', host: ENV.fetch('DB_HOST'), port: ENV.fetch('DB_PORT').to_i, username: ENV.fetch('DB_USER'),
  password: ENV.fetch('DB_PASSWORD'), database: ENV.fetch('DB_SCHEMA'), encoding: 'utf8mb4', pool: 1,
  variables: { lock_wait_timeout: 30 }
}.freeze

class Owner < ActiveRecord::Base
  has_many :cats, -> { order(:id) }, dependent: :destroy
  validates :name, presence: true
end

class Cat < ActiveRecord::Base
  belongs_to :owner
end

class Typed < ActiveRecord::Base
end

# A pool of its own, with TLS.
class Secure < ActiveRecord::Base
  self.abstract_class = true
end

class CreateAll < ActiveRecord::Migration[6.1]
  def change
    create_table(:owners) { |table| table.string :name, limit: 50, null: false, index: { unique: true } }
    create_table(:cats) do |table|
      table.references :owner, null: false, foreign_key: true
      table.string :name
    end
    create_table :typeds do |table|
      table.bigint :big, unsigned: true
      table.decimal :exact, precision: 30, scale: 10
      table.float :approximate, limit: 53
      table.boolean :truth
      table.date :day
      table.datetime :at, precision: 6
      table.text :text
      table.binary :data
      table.json :document if JSON_TYPE
      table.integer :nothing
    end
  end
end

class ChangeCats < ActiveRecord::Migration[6.1]
  def change
    add_column :cats, :lives, :integer, default: 9
    rename_column :cats, :lives, :lives_left
    add_index :cats, %i[name lives_left]
  end
end

def report(check, saw)
  puts JSON.generate(check:, saw:)
  $stdout.flush
end

def check(condition, what)
  raise "not as it should be: #{what.inspect}" unless condition
end

def error
  ActiveRecord::Base.transaction(requires_new: true) { yield }
  raise 'an error was expected'
rescue ActiveRecord::StatementInvalid => error
  [error.class.name, error.cause.error_number, error.cause.sql_state, error.cause.message]
end

def connects
  ActiveRecord::Base.establish_connection(DATABASE)
  connection = ActiveRecord::Base.connection
  check(connection.active?, 'the connection')
  report('connect', [connection.select_rows('SELECT 1, @@sql_mode, @@lock_wait_timeout'), connection.database_version.to_s])
end

def connects_with_tls
  Secure.establish_connection(DATABASE.merge(sslca: ENV.fetch('DB_CA'), sslverify: true))
  report('connect with TLS', Secure.connection.select_value("SELECT 'text'"))
  Secure.remove_connection
end

def migrations
  ActiveRecord::Migration.verbose = false
  [CreateAll, ChangeCats].each { |migration| migration.migrate(:up) }
  ChangeCats.migrate(:down)
  ChangeCats.migrate(:up)
  connection = ActiveRecord::Base.connection
  [Owner, Cat, Typed].each(&:reset_column_information)
  report('migrations', [
           connection.tables.sort, Cat.columns.map { |column| [column.name, column.sql_type, column.default] },
           connection.indexes(:cats).map { |index| [index.name, index.columns, index.unique] },
           connection.foreign_keys(:cats).map(&:to_table)
         ])
end

def types
  values = {
    big: 2**64 - 1, exact: BigDecimal('-12345678901234567890.0123456789'), approximate: -2.5e300, truth: true,
    day: Date.new(1000, 1, 1), at: Time.utc(2026, 11, 22, 10, 11, 12, 123_456), text: "naïve 海峡 🌉 'q' \"d\" \\ \n ?",
    data: (0..255).to_a.pack('C*'), document: { 'a' => [1, nil, '海峡'] }, nothing: nil
  }
  values.delete(:document) unless JSON_TYPE
  back = Typed.find(Typed.create!(values).id).attributes.symbolize_keys.slice(*values.keys)
  values.each { |name, value| check(back[name] == value, [name, back[name], value]) }
  report('types', back.except(:data))
end

def prepared_statements
  prepared = ActiveRecord::Base.establish_connection(DATABASE.merge(prepared_statements: true)).connection
  20.times { |number| Typed.create!(text: "text #{number}") }
  seen = [[2, 1], [3, 1], [99, 0]].map do |id, count|
    found = Typed.where(id:).to_a
    check(found.length == count, found)
    found.map(&:text)
  end
  seen << Typed.where('id > ?', 1).order(:id).pluck(:id, :text)
  report('prepared statements', [seen, prepared.prepared_statements])
end

def transactions
  seen = []
  Owner.transaction do
    Owner.create!(name: 'Ada')
    raise ActiveRecord::Rollback
  end
  seen << Owner.count
  Owner.transaction(isolation: :read_committed) do
    ada = Owner.create!(name: 'Ada')
    Owner.transaction(requires_new: true) do
      Owner.create!(name: 'Grace')
      raise ActiveRecord::Rollback
    end
    ada.cats.create!([{ name: 'Mia' }, { name: 'Leo' }])
    ada.cats.lock.find_by!(name: 'Leo').update!(name: 'Leon')
  end
  seen << Owner.includes(:cats).order(:id).map { |owner| [owner.name, owner.cats.map(&:name)] }
  Owner.find_by!(name: 'Ada').with_lock { |*| seen << Cat.joins(:owner).where(owners: { name: 'Ada' }).count }
  Owner.find_by!(name: 'Ada').destroy!
  seen << [Owner.count, Cat.count]
  check(seen == [0, [['Ada', %w[Mia Leon]]], 2, [0, 0]], seen)
  report('transactions', seen)
end

def bulk_insert
  Owner.insert_all!((0...3000).map { |number| { name: "owner #{number}" } })
  updated = Owner.where("name LIKE 'owner 1%'").update_all("name = CONCAT(name, '!')")
  Owner.upsert_all([{ name: 'owner 2' }, { name: 'another' }])
  report('bulk insert', [updated, Owner.count, Owner.maximum(:name)])
  check(updated == 1111 && Owner.count == 3001, updated)
end

def errors
  connection = ActiveRecord::Base.connection
  seen = ['SELEKT 1', 'SELECT * FROM missing', 'INSERT INTO owners (name) VALUES (NULL)'].map do |statement|
    error { connection.execute(statement) }
  end
  seen << error { Owner.create!(name: 'owner 2') }
  seen << error { Cat.insert!({ owner_id: -1, name: 'Tom' }) }
  check(seen.map { |_, code| code } == [1064, 1146, 1048, 1062, 1452], seen)
  report('errors', seen)
end

def big_results
  count = length = 0
  Owner.select(:id, "REPEAT('x', 3000) AS text").find_each(batch_size: 500) do |owner|
    count += 1
    length += owner.text.length
  end
  check(count == 3001, count)
  report('big results', [count, length])
end

connects
connects_with_tls
migrations
types
transactions
bulk_insert
errors
big_results
prepared_statements
